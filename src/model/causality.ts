import { KilovoltError } from '../base/errors.ts'
import { fromHex, readUint, toHex, writeUint } from '../base/bytes.ts'
import { ACTOR_BYTES, type Actor } from './node-id.ts'
import { compareStamps, type Stamp } from './stamp.ts'

/**
 * Which writes of a key somebody has seen (dotted version vectors, Preguiça et al. 2012). A write is named by its dot: a
 * hybrid time and who minted it. Whoever mints has seen all that it minted before, so that one number for each says it:
 *
 * - `base`: every write stamped at or below this, whoever minted it. That is how a record of a keyspace without siblings
 *   sees: the newest takes the place of all before it. And it is what is left of the numbers when all of them lie in the
 *   settled past.
 * - `seen`: for each who mints, the latest of its dots; those that the base covers are left out, so that two that have seen
 *   the same are the same bytes.
 *
 *     flags u8 (1: a base) · [base: time 7 · actor 8] · count u16 · per actor, in their order: time 7 · actor 8
 */
export interface Causality {
  readonly base: Stamp | undefined
  readonly seen: ReadonlyMap<Actor, number>
}

const BASE = 1
const HLC_BYTES = 7
/** Bytes of a stamp. */
export const DOT_BYTES: number = HLC_BYTES + ACTOR_BYTES
/**
 * Most actors of one key that an owner mints: owners, each time they were started, since the past was settled last. What
 * several owners have minted apart may be more together, and is read as well.
 */
export const ACTORS_MAX = 4096

/** Nothing seen. */
export const NOTHING_SEEN: Causality = { base: undefined, seen: new Map() }

/** Whether a write has been seen. */
export function covers({ base, seen }: Causality, dot: Stamp): boolean {
  if (base !== undefined && compareStamps(dot, base) <= 0) return true
  const latest = seen.get(dot.actor)
  return latest !== undefined && dot.hlc <= latest
}

/** What the two have seen together. */
export function unite(a: Causality, b: Causality): Causality {
  const base = laterOf(a.base, b.base)
  const seen = new Map<Actor, number>()
  for (const some of [a.seen, b.seen]) {
    for (const [actor, hlc] of some) {
      if (base !== undefined && compareStamps({ hlc, actor }, base) <= 0) continue
      if (hlc > (seen.get(actor) ?? -1)) seen.set(actor, hlc)
    }
  }
  return { base, seen }
}

/** The latest write that has been seen; `undefined` when none has. */
export function latestSeen({ base, seen }: Causality): Stamp | undefined {
  let latest = base
  for (const [actor, hlc] of seen) latest = laterOf(latest, { hlc, actor })
  return latest
}

/** Length of {@link writeCausality}. */
export function causalityBytes({ base, seen }: Causality): number {
  return 1 + (base === undefined ? 0 : DOT_BYTES) + 2 + seen.size * DOT_BYTES
}

/** Writes it from there on; returns the place behind it. */
export function writeCausality(bytes: Uint8Array, from: number, { base, seen }: Causality): number {
  let at = from
  bytes[at++] = base === undefined ? 0 : BASE
  if (base !== undefined) at = writeDot(bytes, at, base)
  writeUint(bytes, at, 2, seen.size)
  at += 2
  for (const [actor, hlc] of [...seen].toSorted(([a], [b]) => (a < b ? -1 : 1)))
    at = writeDot(bytes, at, { hlc, actor })
  return at
}

/**
 * Reads what {@link writeCausality} has written, and where it ends.
 *
 * @throws KilovoltError `KV_CORRUPT`
 */
export function readCausality(
  bytes: Uint8Array,
  from: number
): { readonly causality: Causality; readonly end: number } {
  let at = from
  const flags = byteAt(bytes, at++)
  if ((flags & ~BASE) !== 0) throw corrupt(`flags 0x${flags.toString(16)} of what was seen are unknown`)
  let base: Stamp | undefined
  if (flags === BASE) {
    base = readDot(bytes, at)
    at += DOT_BYTES
  }
  if (bytes.length < at + 2) throw corrupt('what was seen is cut off')
  const count = readUint(bytes, at, 2)
  at += 2
  const seen = new Map<Actor, number>()
  let before = ''
  for (let i = 0; i < count; i++, at += DOT_BYTES) {
    const dot = readDot(bytes, at)
    if (dot.actor <= before) throw corrupt('actors that are out of order')
    if (base !== undefined && compareStamps(dot, base) <= 0) throw corrupt('an actor that the base covers')
    before = dot.actor
    seen.set(dot.actor, dot.hlc)
  }
  return { causality: { base, seen }, end: at }
}

/** Writes a dot; returns the place behind it. */
export function writeDot(bytes: Uint8Array, at: number, { hlc, actor }: Stamp): number {
  writeUint(bytes, at, HLC_BYTES, hlc)
  bytes.set(fromHex(actor)!, at + HLC_BYTES)
  return at + DOT_BYTES
}

/** @throws KilovoltError `KV_CORRUPT` */
export function readDot(bytes: Uint8Array, at: number): Stamp {
  if (bytes.length < at + DOT_BYTES) throw corrupt('a dot is cut off')
  // Seven bytes hold 56 bits; a safe integer holds 53.
  if (bytes[at]! > 0x1f) throw corrupt('the time of a dot is out of range')
  const actor = toHex(bytes.subarray(at + HLC_BYTES, at + DOT_BYTES)) as Actor
  return { hlc: readUint(bytes, at, HLC_BYTES), actor }
}

/** The byte there. */
export function byteAt(bytes: Uint8Array, at: number): number {
  const byte = bytes[at]
  if (byte === undefined) throw corrupt('siblings are cut off')
  return byte
}

/** What is no set of siblings. */
export function corrupt(what: string): KilovoltError {
  return new KilovoltError('KV_CORRUPT', `not what siblings are kept as: ${what}`)
}

function laterOf(a: Stamp | undefined, b: Stamp | undefined): Stamp | undefined {
  if (a === undefined || b === undefined) return a ?? b
  return compareStamps(a, b) >= 0 ? a : b
}
