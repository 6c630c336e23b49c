import { expect, test } from "vitest";
import { Latest } from "./latest";

interface Sent {
  request: number;
  signal: AbortSignal;
  answer: (value: string) => void;
  refuse: (error: Error) => void;
}

function made(patience = 250) {
  const sent: Sent[] = [];
  const found: string[] = [];
  const failed: string[] = [];
  const clock = { now: 0 };
  const latest = new Latest<number, string>(
    (request, signal) =>
      new Promise((answer, refuse) => {
        sent.push({ request, signal, answer, refuse });
        signal.addEventListener("abort", () => refuse(new DOMException("", "AbortError")));
      }),
    (result) => found.push(result),
    (error) => failed.push(error.message),
    patience,
    () => clock.now,
  );
  return { sent, found, failed, clock, latest };
}

const settled = () => new Promise((done) => setTimeout(done));

test("only the newest of the wishes made meanwhile is sent", async () => {
  const { sent, found, latest } = made();
  for (const wish of [1, 2, 3, 4]) latest.ask(wish);
  expect(sent.map((one) => one.request)).toEqual([1]);
  sent[0]?.answer("one");
  await settled();
  expect(sent.map((one) => one.request)).toEqual([1, 4]);
  sent[1]?.answer("four");
  await settled();
  expect(found).toEqual(["one", "four"]);
  expect(latest.busy).toBe(false);
});

test("what takes too long is given up for a newer wish, without a complaint", async () => {
  const { sent, found, failed, clock, latest } = made(250);
  latest.ask(1);
  clock.now = 300;
  latest.ask(2);
  await settled();
  expect(sent[0]?.signal.aborted).toBe(true);
  sent[1]?.answer("two");
  await settled();
  expect([found, failed]).toEqual([["two"], []]);
});

test("an error is told, and the next wish is asked all the same", async () => {
  const { sent, found, failed, latest } = made();
  latest.ask(1);
  latest.ask(2);
  sent[0]?.refuse(new Error("no"));
  await settled();
  sent[1]?.answer("two");
  await settled();
  expect([failed, found]).toEqual([["no"], ["two"]]);
});

test("stopped, nothing is told any more", async () => {
  const { sent, found, failed, latest } = made();
  latest.ask(1);
  latest.ask(2);
  latest.stop();
  await settled();
  expect([sent.length, found, failed]).toEqual([1, [], []]);
});
