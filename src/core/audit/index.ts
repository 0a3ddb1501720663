// Writes audit entries in the transaction of what they record. Reading, sealing and verifying are the security area's.

import { createHash, randomBytes } from "node:crypto";
import type { Database } from "../../engines/database/index.ts";
import { canonicalJson } from "../../lib/json/canonical.ts";
import type { Clock } from "../clock.ts";
import type { Context } from "../context.ts";
import { uuidv7 } from "../../lib/ids/index.ts";
import { auditLog, auditPersonal } from "./model.ts";
import { AUDIT_EVENTS, type AuditEventType } from "./types.ts";

export interface AuditEntry {
  type: AuditEventType;
  /** Short verb; the type when left out. */
  action?: string;
  result?: "success" | "failure" | "denied";
  resource?: { type: string; id: string; label?: string };
  details?: Record<string, unknown>;
  /** `{field: {from, to}}`; secrets are given as "***". */
  changes?: Record<string, { from: unknown; to: unknown }>;
  /** The name as typed at a failed sign-in. */
  identifier?: string;
  note?: string;
  /** Who acted, when the context does not know yet (a sign-in). */
  userId?: string;
  sessionId?: string;
}

export interface Audit {
  /** Inserts one entry through `tx`; a failure fails the caller's transaction. */
  record(tx: Database, ctx: Context, entry: AuditEntry): Promise<void>;
}

const ACTOR_KIND = {
  session: "user",
  api_key: "api_key",
  anonymous: "anonymous",
  chat: "anonymous",
  system: "system",
} as const;

/** Makes the writer of audit entries. */
export function openAudit(deps: { clock: Clock }): Audit {
  return {
    record: async (tx, ctx, entry) => {
      const { caller } = ctx;
      const personal = {
        actor_label: caller.username,
        ip_address: ctx.ip,
        user_agent: ctx.userAgent,
        resource_label: entry.resource?.label ?? null,
        identifier: entry.identifier ?? null,
        changes: entry.changes ?? null,
        note: entry.note ?? null,
      };
      const salt = randomBytes(16).toString("hex");
      const id = uuidv7();
      await tx.insert(auditLog).values({
        id,
        at: deps.clock.date(),
        eventType: entry.type,
        action: entry.action ?? entry.type,
        category: AUDIT_EVENTS[entry.type],
        userId: entry.userId ?? caller.userId,
        actorKind: caller.kind === "system" && caller.botId ? "bot" : ACTOR_KIND[caller.kind],
        context: caller.kind === "system" ? "system" : "user",
        keyId: caller.keyId,
        sessionId: entry.sessionId ?? caller.sessionId,
        organizationId: caller.organizationId,
        resourceType: entry.resource?.type ?? null,
        resourceId: entry.resource?.id ?? null,
        result: entry.result ?? "success",
        requestId: ctx.requestId,
        method: ctx.method,
        route: ctx.route,
        details: entry.details ?? {},
        changedFields: Object.keys(entry.changes ?? {}),
        personalDigest: createHash("sha256")
          .update(Buffer.from(salt, "hex"))
          .update(canonicalJson(personal))
          .digest("hex"),
      });
      await tx.insert(auditPersonal).values({
        auditId: id,
        salt,
        userId: entry.userId ?? caller.userId,
        actorLabel: personal.actor_label,
        ipAddress: personal.ip_address,
        userAgent: personal.user_agent,
        resourceLabel: personal.resource_label,
        identifier: personal.identifier,
        changes: personal.changes,
        note: personal.note,
      });
    },
  };
}
