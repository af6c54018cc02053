// graphile-worker: addJob and addJobs; run() with a preset.

import { makeWorkerUtils, run } from "graphile-worker";
import { Logger } from "@graphile/logger";
import pg from "pg";

import { serve } from "./errand.mjs";

const logger = new Logger(() => (level, message) => (level === "error" ? console.error(message) : undefined));
const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const client = {
  async open({ url, settings }) {
    // The pool is theirs to choose; so is its size.
    this.pool = new pg.Pool({ connectionString: url, max: settings.pool });
    this.utils = await makeWorkerUtils({ pgPool: this.pool, logger });
  },
  async install() {
    await this.utils.migrate();
  },
  async start(number) {
    return await this.utils.addJob("noop", { number });
  },
  async startMany(count, sent) {
    await this.utils.addJobs(Array.from({ length: count }, (_, number) => ({ identifier: "noop", payload: { number, sent } })));
  },
  async wait({ id }) {
    // A job that has ended is gone.
    for (;;) {
      const { rowCount } = await this.pool.query("select from graphile_worker._private_jobs where id = $1", [id]);
      if (!rowCount) return;
      await rest(1);
    }
  },
};

async function worker({ url, settings }, tick) {
  const runner = await run({
    preset: { worker: { connectionString: url, ...settings } },
    taskList: { noop: async (payload) => tick(payload.sent) },
    noHandleSignals: true,
    logger,
  });
  await runner.promise;
}

await serve(client, worker);
