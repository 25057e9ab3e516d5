import { hlcToMs } from './hlc.ts'

/** Unix ms at which a value ends that was stored at a hybrid time, to live so many ms; `undefined` for never. */
export function expiryOf(hlc: number, ttl: number | undefined): number | undefined {
  return ttl === undefined ? undefined : hlcToMs(hlc) + ttl
}
