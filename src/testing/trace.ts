const LAST_EVENTS = 50

/** One event as a failure report shows it. */
export interface TraceEvent {
  /** True time, ms. */
  readonly atMs: number
  /** The node concerned, or the part of the world. */
  readonly who: string
  readonly what: string
}

/**
 * What has happened, as a hash that is the same if and only if (but for a collision) the same things happened in the
 * same order, and as the last events in words. Two lanes of 32-bit FNV-1a: integers only, so that it is the same
 * everywhere.
 */
export class Trace {
  readonly #labels = new Map<string, number>()
  readonly #last: TraceEvent[] = []
  readonly #keep: number
  #at = 0
  #count = 0
  #low = 0x811c9dc5
  #high = 0x01000193

  /** @param keep - how many events to keep for reports. Default 50 */
  constructor(keep: number = LAST_EVENTS) {
    this.#keep = keep
  }

  /** Events recorded so far. */
  get count(): number {
    return this.#count
  }

  /** The hash, 16 hex digits. */
  get hash(): string {
    return hex(this.#high) + hex(this.#low)
  }

  /** Records one event; `detail` is a number that tells it apart, such as a length or a checksum. */
  record(atMs: number, who: string, what: string, detail = 0): void {
    this.step(atMs, who, detail)
    this.#mix(this.#label(what))
    const event = { atMs, who, what }
    if (this.#last.length < this.#keep) this.#last.push(event)
    else this.#last[this.#at] = event
    this.#at = (this.#at + 1) % this.#keep
  }

  /** Records something that counts for the hash and tells a reader nothing. */
  step(atMs: number, who: string, detail: number): void {
    this.#count++
    const micros = Math.round(atMs * 1000)
    this.#mix(micros >>> 0)
    this.#mix(Math.floor(micros / 0x1_0000_0000))
    this.#mix(this.#label(who))
    this.#mix(detail)
  }

  /** The last events, oldest first. */
  last(): readonly TraceEvent[] {
    return this.#last.length < this.#keep
      ? this.#last.slice()
      : [...this.#last.slice(this.#at), ...this.#last.slice(0, this.#at)]
  }

  /** The last events as lines of text. */
  lines(): string[] {
    return this.last().map(({ atMs, who, what }) => `${atMs.toFixed(3).padStart(12)}  ${who}  ${what}`)
  }

  #label(text: string): number {
    let hash = this.#labels.get(text)
    if (hash === undefined) {
      hash = hashText(text)
      // Texts with numbers in them would grow the cache without end.
      if (this.#labels.size < 4096) this.#labels.set(text, hash)
    }
    return hash
  }

  #mix(value: number): void {
    this.#low = Math.imul(this.#low ^ value, 0x01000193)
    this.#high = Math.imul(this.#high ^ value ^ (this.#low >>> 15), 0x5bd1e995)
  }
}

/** FNV-1a of some bytes, 32 bits. */
export function hashBytes(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193)
  return hash >>> 0
}

/** FNV-1a of a text, 32 bits. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return hash >>> 0
}

function hex(value: number): string {
  return (value >>> 0).toString(16).padStart(8, '0')
}
