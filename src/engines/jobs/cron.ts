// Cron expressions in a time zone.

import { CronExpressionParser } from "cron-parser";
import { invalid } from "../../core/errors.ts";

/**
 * The first moment after `after` that `cron` (five fields, or six with seconds first) names in the IANA zone.
 * A time that a clock change leaves out runs as much later; one that it repeats runs once. Throws
 * VALIDATION_ERROR for an expression or zone that does not exist or never comes.
 */
export function nextTick(cron: string, timezone: string, after: Date): Date {
  try {
    Intl.DateTimeFormat("en", { timeZone: timezone });
  } catch {
    throw invalid([{ path: "timezone", message: "is no IANA time zone", expected: "for example Europe/Berlin" }]);
  }
  const fields = cron.trim().split(/\s+/).length;
  try {
    if (fields !== 5 && fields !== 6) throw new Error(`${fields} fields`);
    return CronExpressionParser.parse(cron.trim(), { tz: timezone, currentDate: after }).next().toDate();
  } catch {
    throw invalid([{ path: "cron", message: "is no cron expression", expected: "minute hour day month weekday" }]);
  }
}
