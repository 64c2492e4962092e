"use strict";
// One page for two ways to vote: through the server, or from a static copy whose votes stay in the
// browser until they are saved to a file. Both answer {question, done, target, pairs}.

const AHEAD = 3;
const find = (id) => document.getElementById(id);

class Refused extends Error {}

const server = {
  async post(path, body) {
    const token = decodeURIComponent(location.hash.slice(1));
    const headers = { "content-type": "application/json" };
    if (token) headers.authorization = `Bearer ${token}`;
    let answer;
    try {
      answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
    } catch {
      throw new Error("The server does not answer. Nothing is lost: what you see here is not saved yet.");
    }
    const found = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Refused(found.error || `The server said ${answer.status}.`);
    return found;
  },
  async enter(name) {
    const found = await this.post("rater", { name });
    this.rater = found.rater;
    return found;
  },
  vote(pair, choice, seconds) {
    return this.post("vote", { rater: this.rater, pair: pair.id, choice, seconds });
  },
  undo() {
    return this.post("undo", { rater: this.rater });
  },
};

const offline = {
  enter(name) {
    this.study = window.STUDY;
    this.name = name.normalize("NFC").trim().replace(/\s+/g, " ");
    this.key = `study ${this.study.study} ${this.name}`;
    this.kept = JSON.parse(localStorage.getItem(this.key) || "null") || { votes: [], asked: {} };
    let number = 7;
    for (const letter of this.name) number = (number * 31 + letter.codePointAt(0)) >>> 0;
    this.deck = this.study.decks[number % this.study.decks.length];
    return { name: this.name, ...this.state() };
  },
  keep() {
    localStorage.setItem(this.key, JSON.stringify(this.kept));
  },
  state(first) {
    const done = new Set(this.kept.votes.map((vote) => vote.pair));
    const left = this.deck.map((i) => this.study.pairs[i]).filter((pair) => !done.has(pair.id));
    if (first) left.sort((a, b) => (b.id === first) - (a.id === first));
    const pairs = left.slice(0, AHEAD).map((pair) => this.shown(pair));
    this.keep();
    return { question: this.study.question, done: done.size,
             target: Math.min(this.study.target, this.deck.length), pairs };
  },
  shown(pair) {
    // Which side is which is drawn once, so that a reload shows the same.
    if (!(pair.id in this.kept.asked)) this.kept.asked[pair.id] = Math.random() < 0.5;
    const swap = this.kept.asked[pair.id];
    const [left, right] = swap ? [pair.right, pair.left] : [pair.left, pair.right];
    const place = (name) => `picture/${name}.png`;
    return { id: pair.id, prompt: pair.prompt, left: place(left), right: place(right), names: { left, right } };
  },
  vote(pair, choice, seconds) {
    if (this.kept.votes.some((vote) => vote.pair === pair.id)) return this.state();
    this.kept.votes.push({ pair: pair.id, ...pair.names, choice, seconds, at: Date.now() / 1000 });
    return this.state();
  },
  undo() {
    const last = this.kept.votes.pop();
    if (!last) throw new Refused("There is no vote to undo.");
    return this.state(last.pair);
  },
  save() {
    const { format, version, study } = this.study;
    const text = JSON.stringify({ format, version, study, rater: this.name, votes: this.kept.votes });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = `votes ${this.name.replace(/[^\p{L}\p{N}]+/gu, "-")}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  },
};

const copy = "STUDY" in window;
const votes = copy ? offline : server;
const pictures = new Map(); // address -> a picture that is loaded, or being loaded
let state = null;
let shown = null; // the pair on the screen
let since = 0;
let busy = true;
let beyond = false; // voting on after the target

function picture(address) {
  let image = pictures.get(address);
  if (!image) {
    image = new Image();
    image.draggable = false;
    image.src = address;
    image.ready = image.decode().then(() => {
      image.classList.toggle("small", image.naturalWidth <= 256);
    });
    image.ready.catch(() => pictures.delete(address));
    pictures.set(address, image);
  }
  return image;
}

function open(section) {
  for (const id of ["start", "voting", "end"]) find(id).hidden = id !== section;
  find("leave").hidden = section === "start";
  find("saving").hidden = !copy || section === "start" || !state.done;
}

function trouble(words) {
  find("trouble").textContent = words;
  find("trouble").hidden = !words;
}

function say(words) {
  find("said").textContent = words;
}

async function show(next) {
  state = next;
  const wanted = new Set(state.pairs.flatMap((pair) => [pair.left, pair.right]));
  for (const address of pictures.keys()) if (!wanted.has(address)) pictures.delete(address);
  for (const address of wanted) picture(address);
  find("bar").value = Math.min(1, state.done / state.target);
  find("count").textContent = `${state.done} of ${state.target}`;
  find("undo").disabled = find("end-undo").hidden = !state.done;
  find("save-words").textContent =
    `${state.done} vote${state.done === 1 ? "" : "s"} so far, kept in this browser only. Save them as a file and send it back.`;
  if (!state.pairs.length || (state.done >= state.target && !beyond)) return finish();
  await put(state.pairs[0]);
}

async function put(pair) {
  const sides = { left: picture(pair.left), right: picture(pair.right) };
  open("voting");
  find("question").textContent = state.question;
  find("prompt").textContent = pair.prompt;
  for (const side of ["left", "right"]) {
    sides[side].alt = side === "left" ? "Left picture" : "Right picture";
    find(side).querySelector(".frame").replaceChildren(sides[side]);
  }
  try {
    await Promise.all([sides.left.ready, sides.right.ready]);
  } catch {
    shown = null;
    ready(false);
    throw new Error("A picture could not be loaded. Reload the page to try again; your votes are kept.");
  }
  const ratio = sides.left.naturalWidth / sides.left.naturalHeight;
  for (const frame of document.querySelectorAll(".frame")) frame.style.aspectRatio = ratio;
  shown = pair;
  since = performance.now();
  say(`Pair ${state.done + 1} of ${Math.max(state.target, state.done + 1)}. ${pair.prompt}`);
  ready(true);
}

function finish() {
  shown = null;
  open("end");
  const none = !state.pairs.length;
  find("end-words").textContent = none
    ? `You have judged every pair there is: ${state.done} votes.`
    : `That was all we asked for: ${state.done} votes. More votes make the result more certain.`;
  find("end-words").textContent += copy
    ? " Save your votes below and send the file back."
    : " Every vote is saved; you can close this page.";
  find("more").hidden = none;
  ready(true);
  find("end-title").focus();
}

function ready(yes) {
  busy = !yes;
  find("voting").setAttribute("aria-busy", String(busy));
  for (const button of document.querySelectorAll(".taken")) button.classList.remove("taken");
}

async function act(work) {
  if (busy) return;
  busy = true;
  try {
    const next = await work();
    trouble("");
    await show(next);
  } catch (error) {
    trouble(error.message);
    ready(true);
  }
}

function choose(choice) {
  const pair = shown;
  if (!pair || busy) return;
  document.querySelector(`#voting [data-choice="${choice}"]`).classList.add("taken");
  act(() => votes.vote(pair, choice, (performance.now() - since) / 1000));
}

function undo() {
  act(async () => {
    const next = await votes.undo();
    beyond = next.done >= next.target;
    return next;
  });
}

const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "tie", ArrowDown: "both_bad" };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  if (find("voting").hidden) return;
  if (!(event.key in KEYS) && event.key !== "Backspace") return;
  event.preventDefault();
  if (event.repeat) return;
  if (event.key === "Backspace") undo();
  else choose(KEYS[event.key]);
});
for (const button of document.querySelectorAll("[data-choice]")) {
  button.addEventListener("click", () => choose(button.dataset.choice));
}
for (const id of ["undo", "end-undo"]) find(id).addEventListener("click", undo);
find("more").addEventListener("click", () => {
  beyond = true;
  act(() => state);
});
find("save").addEventListener("click", () => offline.save());
find("leave").addEventListener("click", () => {
  localStorage.removeItem("rater");
  location.reload();
});
find("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  act(async () => {
    const found = await votes.enter(find("name").value);
    localStorage.setItem("rater", found.name);
    find("who").textContent = found.name;
    beyond = false;
    return found;
  });
});

find("name").value = localStorage.getItem("rater") || "";
if (find("name").value) document.querySelector("#enter button").textContent = "Go on";
open("start");
find("name").focus();
busy = false;
