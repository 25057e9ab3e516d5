/** Longest time to live, ms: some three thousand years. The expiry of a record has 48 bits, which is nearly three times that. */
export const TTL_MAX_MS = 100_000_000_000_000

/** Whether something is a time to live: more than nothing, `Infinity` among it. */
export function isTtl(value: unknown): value is number {
  return typeof value === 'number' && value > 0
}

/**
 * A time to live of another library, ms, as a keyspace takes it: what is longer than a keyspace can tell is for ever
 * (`Number.MAX_SAFE_INTEGER` is a usual way to say so), and a part of a millisecond counts as a whole one, so that nothing
 * expires too early. What is no such time (nothing, less, `NaN`) stays so.
 */
export function wholeTtl(ms: number): number {
  return ms > TTL_MAX_MS ? Infinity : Math.ceil(ms)
}
