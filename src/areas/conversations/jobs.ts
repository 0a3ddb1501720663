// Background rounds: conversations that fell silent, spans that ended, what is to be erased, files that nobody used.

import { systemContext } from "../../core/context.ts";
import type { Log } from "../../core/log.ts";
import type { Jobs } from "../../engines/jobs/index.ts";
import type { AttachmentService } from "./service/attachments.ts";
import type { Conversations } from "./service/conversations.ts";
import type { Outcomes } from "./service/outcomes.ts";

const BATCH = 200;

export interface ConversationJobsDeps {
  jobs: Jobs;
  log: Log;
  conversations: Pick<Conversations, "sweepAnonymous" | "sweepRetention">;
  outcomes: Pick<Outcomes, "sweep">;
  attachments: Pick<AttachmentService, "sweep">;
}

/** Defines the rounds; `start` schedules them. One run per tick over all instances. */
export function conversationJobs(deps: ConversationJobsDeps) {
  const { jobs, conversations, outcomes, attachments } = deps;
  const often = async (): Promise<void> => {
    await conversations.sweepAnonymous(BATCH);
    await outcomes.sweep(systemContext(["*"], "sweep"), BATCH);
  };
  const seldom = async (): Promise<void> => {
    await attachments.sweep();
    await conversations.sweepRetention(BATCH);
  };
  jobs.define({
    kind: "conversations.often",
    run: async () => {
      await often();
      return undefined;
    },
  });
  jobs.define({
    kind: "conversations.seldom",
    run: async () => {
      await seldom();
      return undefined;
    },
  });
  return {
    often,
    seldom,
    start: async (): Promise<void> => {
      await jobs.schedule("conversations.often", "* * * * *", "UTC", "conversations.often", {});
      await jobs.schedule("conversations.seldom", "17 * * * *", "UTC", "conversations.seldom", {});
    },
  };
}
