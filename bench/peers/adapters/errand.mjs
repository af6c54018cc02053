// What protocol.py, errand.py and tally.py are for Python: lines of JSON, the same errands, the same counts.
//
// A client has open(task), install(), start(number), startMany(count, sent) and wait(handle); a worker is a function of
// the task and of tick(sent), which it calls once for each job.

import { createInterface } from "node:readline";

const PARTS = 20;
const TICK_MS = 10;

const now = () => (performance.timeOrigin + performance.now()) / 1000;
const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const voice = process.stdout.write.bind(process.stdout);
const say = (what) => voice(JSON.stringify(what) + "\n");

export async function serve(client, worker) {
  // What a library prints goes to standard error.
  process.stdout.write = process.stderr.write.bind(process.stderr);
  const [, , role, given] = process.argv;
  const task = { url: process.env.BENCH_DATABASE_URL, settings: {}, expected: 0, ...JSON.parse(given) };
  await (role === "client" ? serveClient(client, task) : serveWorker(worker, task));
}

async function serveClient(client, task) {
  await client.open(task);
  for await (const line of createInterface({ input: process.stdin })) {
    const wish = JSON.parse(line);
    try {
      say(await ERRANDS[wish.do](client, wish));
    } catch (error) {
      console.error(error);
      say({ error: String(error) });
    }
  }
  process.exit(0);
}

async function serveWorker(worker, task) {
  const marks = [];
  const delays = [];
  let count = 0;
  let next = 1;
  const tick = (sent) => {
    count += 1;
    if (sent != null) delays.push((now() - sent) * 1000);
    if (task.expected && count >= next) {
      marks.push([count, now()]);
      next = Math.ceil((task.expected * marks.length) / PARTS);
      if (count >= task.expected) {
        next = Infinity;
        say({ executed: count, marks });
      }
    }
  };
  const lines = createInterface({ input: process.stdin });
  lines.on("line", () => say({ executed: count, marks, delays }));
  lines.on("close", () => process.exit(0));
  await worker(task, tick);
}

const ERRANDS = {
  async install(client) {
    await client.install();
    return {};
  },
  async fill(client, { count, chunk }) {
    for (let left = count; left > 0; left -= chunk) await client.startMany(Math.min(chunk, left), null);
    return { started: count };
  },
  async singles(client, wish) {
    const start = async (number) => {
      await client.start(number);
      return 1;
    };
    return await crowd(wish.crowd, start, wish);
  },
  async bulk(client, wish) {
    const start = async () => {
      await client.startMany(wish.size, null);
      return wish.size;
    };
    return await crowd(1, start, wish);
  },
  async latency(client, { samples, seconds }) {
    const ms = [];
    const ends = performance.now() + seconds * 1000;
    while (ms.length < samples && (performance.now() < ends || !ms.length)) {
      await rest(5 + Math.random() * 45);
      const began = performance.now();
      await client.wait(await client.start(ms.length));
      ms.push(performance.now() - began);
    }
    return { ms };
  },
  async stream(client, { rate, seconds }) {
    const began = now();
    let started = 0;
    for (let passed = 0; passed < seconds; passed = now() - began) {
      const wanted = Math.floor(passed * rate) - started;
      if (wanted > 0) {
        await client.startMany(wanted, now());
        started += wanted;
      }
      await rest(TICK_MS);
    }
    return { started };
  },
};

async function crowd(size, act, { warm_up: warmUp, seconds }) {
  const done = [];
  const began = performance.now() / 1000;
  const ends = began + warmUp + seconds;
  let number = 0;
  const goOn = async () => {
    do {
      const count = await act(number++);
      done.push([performance.now() / 1000, count]);
    } while (done[done.length - 1][0] < ends);
  };
  await Promise.all(Array.from({ length: size }, goOn));
  const started = done.reduce((sum, [, count]) => sum + count, 0);
  let warm = done.filter(([at]) => at >= began + warmUp && at <= ends);
  if (warm.length < 2) warm = [[began, 0], ...done];
  const counted = warm.slice(1).reduce((sum, [, count]) => sum + count, 0);
  return { started, per_second: counted / (warm[warm.length - 1][0] - warm[0][0]) };
}
