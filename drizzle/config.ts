// What drizzle-kit reads: where the tables are described and how names are written.

import type { Config } from "drizzle-kit";

export default {
  dialect: "postgresql",
  schema: ["./src/core/*/model.ts", "./src/engines/*/model.ts", "./src/areas/*/model.ts"],
  out: "./drizzle",
  casing: "snake_case",
  breakpoints: true,
} satisfies Config;
