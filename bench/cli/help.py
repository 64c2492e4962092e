"""What `--help` prints, with `{command}` and `{suites}` to be filled in."""

HELP = """\
usage: {command} suite=NAME|PATH [task=run|plan|report|check|study|sensitivity] [key=value ...]
       {command} -m key=A,B ...   a sweep: one run per combination
       torchrun --nproc-per-node N -m bench ...   N processes share one run, a GPU each
       {command} --version

Makes images with every contestant of a suite, scores them and writes a report.

  suite=NAME|PATH     {suites}, or a YAML file
  task=run            make what is missing, score, report (the default)
  task=plan           print what a run will do, what it costs and what is missing; make nothing
  task=report         write the report of a finished run again (run=DIR, or the run's own words),
                      or one of several runs (runs=[DIR,DIR]); makes no images
  task=check          compare a finished run with a baseline (baseline=NAME|DIR)
  task=study          let people choose between pictures of a finished run (run=DIR), blindly
  task=sensitivity    draw one contestant by a grid of samplers (contestant=NAME): best and worst
                      cell beside the recommended one

  out=DIR             run folder; default runs/<suite>-<identity>, so the same command resumes
  cache=DIR           images and features that all runs share; default runs/cache
  limit=N             only the first N prompts; the report is marked as a quick run
  device=DEVICE       auto, cpu, cuda or mps
  images=DIR          one more contestant: a folder of images (00000.png ...)
  precomputed=false   make shipped rows (teacher, anchors) again instead of reading their features
  batch=N|best        images per batch; default by device; best: search the fastest per contestant
  random_weights=true measure seconds and memory with random weights, without a download;
                      the report is marked
  compile=true        run every UNet through torch.compile; adds minutes per contestant, and
                      images are cached separately (rounding differs)
  references=teacher  draw the teacher's pictures once with another seed, as the reference of
                      fid_teacher; costs as much as the teacher's row
  pictures=shown|none keep only the first 100 pictures of each contestant (for the report), or
                      none; scores are the same, but a metric added later draws again
  rounds=N            time contestants in turns for N rounds, after drawing; default 7, fewer where
                      images take seconds (the plan says how many); 0: no timing
  offload=model|sequential  keep parts, or single modules, of FLUX and others that draw by their own
                      call off the device while others work: less memory, more seconds
  vae=DIR|hf://...    decode by another VAE; madebyollin/sdxl-vae-fp16-fix runs in fp16
  vae_precision=bf16  precision of the VAE; SDXL's own overflows in fp16 and runs in fp32
  export=DIR          write this run's features as shipped ones (for maintainers)

With task=plan:
  strict=true         exit code 2 where something is missing, 0 where all is here

With task=report run=DIR:
  figures=true        write charts (SVG) and a sheet of pictures (PNG) into figures/, too
  mixed_model=true    add a mixed model of the votes of its preference study
  tracker=NAME        give the run to tensorboard, wandb, mlflow or another that accelerate knows

With task=report runs=[DIR,DIR], or runs=[DIR/*] for every finished run there:
  leaderboard=true    one page of many runs, of any protocols: a history per contestant, no report

With task=check, and the suite's own words or run=DIR:
  baseline=NAME|DIR   reports/baselines/NAME here or shipped; with a slash any run folder
  update=true         write the run as the baseline, into the working folder
  check=weights|training  judge the weights over new prompts, or the training over new seeds too;
                      default: the training where weights were trained again
  decide=true         draw the suite's prompts in blocks until every metric passes or regresses, at
                      most those of the baseline, or most=N (with the suite's own words, not run=)
  pictures=URL        where check/pictures will be published, for $GITHUB_STEP_SUMMARY

With task=sensitivity, and the suite's own words:
  contestant=NAME     of the suite; its own settings are the recommended cell
  schedulers=[...]    default [ddim,euler,lcm,tcd]
  etas=[...]          of tcd; default [0,0.3,1]
  guidances=[...]     default [1,2]
  shifts=[...]        of flow_euler, flow_heun and flow_lcm; default the base's own

With task=study run=DIR:
  port=8765           where the page is served, on this machine only
  host=0.0.0.0 token=WORD   serve other machines, for those who know the word
  votes=60            votes a rater is asked for
  export=DIR          a static copy of the page, for raters whom the server does not reach
  import=FILE|DIR     import the votes that they saved
  simulate=8          add votes of 8 simulated raters; the report marks them

If a contestant cannot be drawn, the run ends before it draws anything. With keep_going=true the
run leaves it out, the report names it, and the exit code is 4.

Every key of a suite can be set: prompts.n=500  steps=[1,4]  seeds=[0,1]  prompts.set=mine.txt
  contestants.tcd.eta=0.5  ~contestants.lcm  +contestants.mine.lora=my.safetensors

exit codes: 0 done; 1 check: regressed; 2 usage, or something is missing; 3 check: inconclusive;
  4 done, but some rows, images or scores failed; 70 internal error, its traceback in a file;
  130 stopped
"""
