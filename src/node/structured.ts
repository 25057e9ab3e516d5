import { decode, encode } from 'cborg/extended'

/**
 * Values of JavaScript as CBOR (RFC 8949), with the registered tags for what JSON has no form for: dates (1), big
 * integers (2, 3), typed arrays (64 … 86, RFC 8746), sets (258), maps (259), regular expressions (21066) and errors (27).
 * Unlike the bytes of `v8.serialize` those mean the same to every version of Node, and to other languages.
 *
 * @throws Error for what has no such form: functions, symbols, promises, and circles of objects
 */
export function encodeStructured(value: unknown): Uint8Array {
  return encode(value)
}

/** The value again. Shares no memory with the bytes. */
export function decodeStructured(bytes: Uint8Array): unknown {
  return decode(bytes, { tags: { [DATE]: decodeDate } })
}

const DATE = 1

/**
 * Seconds since 1970. Of their fractions the library cuts off what it should round, and loses a millisecond; seconds apart
 * from fractions, as together they have more digits than a number holds once they are multiplied.
 */
function decodeDate(content: () => unknown): Date {
  const seconds = content()
  if (typeof seconds !== 'number' && typeof seconds !== 'bigint') throw new Error('a date that is no number')
  const whole = Math.trunc(Number(seconds))
  return new Date(whole * 1000 + Math.round((Number(seconds) - whole) * 1000))
}
