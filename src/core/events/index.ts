// Records what happened for outgoing webhooks and notifications: no event without change, no change without event.

import type { Database } from "../../engines/database/index.ts";
import { uuidv7 } from "../../lib/ids/index.ts";
import type { Clock } from "../clock.ts";
import type { Context } from "../context.ts";
import { events } from "./model.ts";

export interface EventInput {
  /** `area.word` of the contract's list (examples.md, "Events"). */
  type: `${string}.${string}`;
  subject: { area: string; id: string };
  /** The user whose thing it is, or null. */
  ownerId: string | null;
  /** Ids and states; no secrets, no long text, no other people's addresses. */
  data: Record<string, unknown>;
}

export interface Events {
  record(tx: Database, ctx: Context, event: EventInput): Promise<void>;
}

/** Makes the writer of the outbox. */
export function openEvents(deps: { clock: Clock }): Events {
  return {
    record: async (tx, ctx, event) => {
      await tx.insert(events).values({
        id: uuidv7(),
        type: event.type,
        createdAt: deps.clock.date(),
        subjectArea: event.subject.area,
        subjectId: event.subject.id,
        actorKind: ctx.caller.kind,
        actorId: ctx.caller.userId,
        ownerId: event.ownerId,
        data: event.data,
      });
    },
  };
}
