"""How good is a few-step text-to-image model, compared like for like at 1 to 8 steps?"""
