import { expect, test } from "vitest";
import { draw, generator, needed, only, passed } from "./attempt";
import shared from "./draws.json";

// draws.json is read by tests/learn/test_quiz_attempt.py as well: both languages draw the same.
test.each(shared.random)("the random numbers of seed $seed", ({ seed, numbers }) => {
  const random = generator(seed);
  expect(numbers.map(() => random())).toEqual(numbers);
});

test.each(shared.draws)("$count questions drawn with seed $seed", (one) => {
  expect(draw(shared.bank, one.count, one.seed, one.objectives)).toEqual(one.asked);
});

test.each(shared.again)("the same questions again with seed $seed", (one) => {
  expect(only(shared.bank, one.questions, one.seed)).toEqual(one.asked);
});

test.each(shared.passed)("$right of $of at $percent %", (one) => {
  expect(passed(one.right, one.of, one.percent)).toBe(one.passed);
});

test.each([
  [10, 7],
  [7, 5],
  [3, 3],
  [1, 1],
])("the fewest right answers of %i that pass are %i", (of, least) => {
  expect(needed(of, 70)).toBe(least);
  expect(passed(least, of, 70)).toBe(true);
  expect(passed(least - 1, of, 70)).toBe(false);
});

test("every place of the right option comes up about as often", () => {
  const counts = [0, 0, 0, 0];
  for (let seed = 0; seed < 400; seed++) {
    for (const { order } of draw(shared.bank, 9, seed)) {
      const place = order.indexOf(0);
      counts[place] = (counts[place] ?? 0) + 1;
    }
  }
  // 3600 draws: 900 each, with a standard deviation of 26
  for (const count of counts) expect(Math.abs(count - 900)).toBeLessThan(110);
});
