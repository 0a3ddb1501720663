// Failures that a test expects, as values to look at.

/** What the promise is rejected with; a promise that resolves fails the test. */
export async function refusal(work: Promise<unknown>): Promise<unknown> {
  let value: unknown;
  try {
    value = await work;
  } catch (error) {
    return error;
  }
  throw new Error(`was not refused, but gave ${Bun.inspect(value)}`);
}
