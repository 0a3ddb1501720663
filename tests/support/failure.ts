// Awaits a refusal. Bun's `expect(promise).rejects` blocks instead of awaiting, and then no message of a Worker (the
// embedded database) arrives: use this and look at the error.

/** What the promise is rejected with; throws when it is not. */
export async function failure(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it was expected to be refused");
}
