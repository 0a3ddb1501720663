// Hooks of creating POSTs that honour `Idempotency-Key` (core/idempotency keeps the keys). A route spreads them into
// its options and says `idempotent: true` in its mark.

import type { Context } from "../core/context.ts";
import { invalid } from "../core/errors.ts";
import type { Idempotency, IdempotencyClaim } from "../core/idempotency/index.ts";
import { sha256Hex } from "../lib/ids/index.ts";
import { canonicalJson } from "../lib/json/canonical.ts";

interface HookContext {
  ctx: Context;
  body: unknown;
  request: Request;
  set: { status?: unknown; headers: Record<string, unknown> };
}

const SANE_KEY = /^[\x21-\x7e]{1,255}$/;

/** Makes the hooks; `failed` is called by the app's error handler. */
export function idempotentRoutes(idempotency: Idempotency) {
  const claims = new WeakMap<Request, IdempotencyClaim>();
  const beforeHandle = async ({ ctx, body, request, set }: HookContext): Promise<void> => {
    const key = request.headers.get("idempotency-key");
    if (key === null) return;
    if (!SANE_KEY.test(key)) {
      throw invalid([{ path: "Idempotency-Key", message: "must be 1–255 visible ASCII characters" }]);
    }
    const { caller } = ctx;
    const claim: IdempotencyClaim = {
      subject: caller.userId ?? caller.conversationId ?? `address:${ctx.ip ?? "unknown"}`,
      route: `${request.method} ${ctx.route ?? ""}`,
      key,
      bodyDigest: sha256Hex(`${new URL(request.url).search}\n${canonicalJson(body ?? null)}`),
    };
    const stored = await idempotency.claim(claim);
    if (stored === null) {
      claims.set(request, claim);
      return;
    }
    set.status = stored.status;
    set.headers["idempotency-replayed"] = "true";
    // The stored answer takes the handler's place; its type is the handler's own.
    return JSON.parse(stored.answer) as undefined;
  };
  const afterHandle = async ({
    request,
    set,
    responseValue,
  }: HookContext & { responseValue: unknown }): Promise<void> => {
    const claim = claims.get(request);
    if (!claim) return;
    claims.delete(request);
    await idempotency.finish(claim, typeof set.status === "number" ? set.status : 200, JSON.stringify(responseValue));
  };
  return {
    hooks: { beforeHandle, afterHandle },
    failed: async (request: Request): Promise<void> => {
      const claim = claims.get(request);
      if (!claim) return;
      claims.delete(request);
      await idempotency.release(claim);
    },
  };
}

export type IdempotentHooks = ReturnType<typeof idempotentRoutes>["hooks"];
