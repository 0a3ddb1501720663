// Public health probes; the rest of monitoring has an issue of its own.

import { Elysia, t } from "elysia";
import { oneOf } from "../../http/schema.ts";
import { AppError, unavailable } from "../../core/errors.ts";
import { enveloped, ok } from "../../http/envelope.ts";
import { kernel } from "../../http/failures.ts";
import { mark } from "../../http/mark.ts";
import type { Health } from "./service.ts";

const HealthReport = t.Object({
  status: oneOf(["healthy", "degraded", "unhealthy"]),
  uptime: t.String({ examples: ["5d 12h 30m"] }),
  uptime_seconds: t.Integer(),
  version: t.String(),
  timestamp: t.String({ format: "date-time" }),
  components: t.Array(
    t.Object({ name: t.String(), status: oneOf(["healthy", "degraded", "unhealthy", "not_configured"]) }),
  ),
});

/** Health, liveness and readiness, each under all of its addresses. */
export function monitoringRoutes({ health }: { health: Health }) {
  const probe = (summary: string) =>
    mark({ access: "public", summary, tag: "Monitoring", uncounted: true, whileRestricted: true });
  const report = async () => {
    const found = await health.health();
    if (found.status === "unhealthy") {
      throw new AppError("SERVICE_UNAVAILABLE", "A required component is down.", { service: "health", ...found });
    }
    return ok(found);
  };
  const reportRoute = {
    response: { 200: enveloped(HealthReport) },
    detail: probe("Health of the server and what it stands on"),
  };
  const live = () => ok({ status: "alive" as const });
  const liveRoute = {
    response: { 200: enveloped(t.Object({ status: t.Literal("alive") })) },
    detail: probe("Does the event loop turn?"),
  };
  const ready = async () => {
    const missing = await health.notReady();
    if (missing !== null) throw unavailable(missing);
    return ok({ status: "ready" as const, checks: await health.checks() });
  };
  const readyRoute = {
    response: { 200: enveloped(t.Object({ status: t.Literal("ready"), checks: t.Record(t.String(), t.String()) })) },
    detail: probe("May requests be sent here?"),
  };
  return new Elysia({ name: "monitoring" })
    .use(kernel)
    .get("/api/v1/health", report, reportRoute)
    .get("/api/v1/monitoring/health", report, reportRoute)
    .get("/health", report, reportRoute)
    .get("/livez", live, liveRoute)
    .get("/healthz", live, liveRoute)
    .get("/api/v1/monitoring/health/live", live, liveRoute)
    .get("/readyz", ready, readyRoute)
    .get("/api/v1/monitoring/health/ready", ready, readyRoute);
}
