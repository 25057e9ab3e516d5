import { hlcToMs } from './hlc.ts'

/** Longest time to live, ms: some three thousand years. The expiry of a record has 48 bits, which is nearly three times that. */
export const TTL_MAX_MS = 100_000_000_000_000

/** Unix ms at which a value ends that was stored at a hybrid time, to live so many ms; `undefined` for never. */
export function expiryOf(hlc: number, ttl: number | undefined): number | undefined {
  return ttl === undefined ? undefined : hlcToMs(hlc) + ttl
}
