// pg-boss: send and insert; work() with batches.

import { PgBoss } from "pg-boss";

import { serve } from "./errand.mjs";

const QUEUE = "bench";
const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function boss(url, more = {}) {
  const made = new PgBoss({ connectionString: url, ...more });
  made.on("error", (error) => console.error(error));
  return made;
}

const client = {
  async open({ url, settings }) {
    this.boss = boss(url);
    this.queue = settings;
  },
  async install() {
    await this.boss.start();
    await this.boss.createQueue(QUEUE, this.queue);
  },
  async start(number) {
    return await this.boss.send(QUEUE, { number });
  },
  async startMany(count, sent) {
    await this.boss.insert(QUEUE, Array.from({ length: count }, (_, number) => ({ data: { number, sent } })));
  },
  async wait(id) {
    for (;;) {
      const job = await this.boss.getJobById(QUEUE, id);
      if (job.state === "completed") return;
      await rest(1);
    }
  },
};

async function worker({ url, settings }, tick) {
  const { useListenNotify, ...options } = settings;
  const made = boss(url, { useListenNotify });
  await made.start();
  await made.work(QUEUE, options, async (jobs) => {
    for (const job of jobs) tick(job.data.sent);
  });
}

await serve(client, worker);
