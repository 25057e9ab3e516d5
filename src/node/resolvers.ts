import { toHex } from '../base/bytes.ts'
import { type PnCounts, pnJoined } from './pn-counter.ts'

/**
 * Resolvers for common kinds of values. Each comes to the same value whatever the order of the siblings, and of its own results.
 *
 * @example
 * ```ts
 * const tags = node.keyspace<string[]>('tags', { conflicts: resolvers.union })
 * ```
 */
export const resolvers: {
  /** All elements of all arrays, each once, in the order of their JSON. What one has removed and another kept stays. */
  readonly union: <T>(siblings: readonly (readonly T[])[]) => T[]
  /** The greatest number. */
  readonly max: (siblings: readonly number[]) => number
  /** The smallest number. */
  readonly min: (siblings: readonly number[]) => number
  /**
   * Plain objects field by field, down to what is no plain object; of that, where it differs, the one with the later JSON. A field
   * that one has removed and another kept stays.
   */
  readonly deepMerge: <T extends object>(siblings: readonly T[]) => T
  /** What a {@link PnCounter} stores: the counts of all who count. */
  readonly pnCounter: (siblings: readonly PnCounts[]) => PnCounts
} = {
  union: <T>(siblings: readonly (readonly T[])[]): T[] => {
    const byText = new Map<string, T>()
    for (const elements of siblings) for (const element of elements) byText.set(textOf(element), element)
    return [...byText].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, element]) => element)
  },
  max: siblings => Math.max(...siblings),
  min: siblings => Math.min(...siblings),
  deepMerge: <T extends object>(siblings: readonly T[]): T => siblings.reduce((a, b) => merged(a, b) as T),
  pnCounter: siblings => siblings.reduce(pnJoined)
}

function merged(a: unknown, b: unknown): unknown {
  // Fields that are merged must not come to lose to something else, or the order would tell.
  if (isPlain(a) !== isPlain(b)) return isPlain(a) ? a : b
  if (!isPlain(a) || !isPlain(b)) return textOf(a) >= textOf(b) ? a : b
  const both: Record<string, unknown> = {}
  for (const field of [...new Set([...Object.keys(a), ...Object.keys(b)])].toSorted()) {
    const value = !Object.hasOwn(a, field) ? b[field] : !Object.hasOwn(b, field) ? a[field] : merged(a[field], b[field])
    // A field of this name is one like any other, and must not become the prototype.
    Object.defineProperty(both, field, { value, enumerable: true, configurable: true, writable: true })
  }
  return both
}

function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/** JSON in which the order of fields says nothing, and in which what has none of its own is named by its kind. */
function textOf(value: unknown): string {
  return JSON.stringify({ value }, function (this: Readonly<Record<string, unknown>>, key, part: unknown) {
    const kind = kindOf(this[key])
    if (kind !== undefined) return { [`\0${kind.name}`]: kind.content }
    return isPlain(part) ? Object.fromEntries(Object.entries(part).toSorted(([a], [b]) => (a < b ? -1 : 1))) : part
  }).slice(TEXT_HEAD.length, -1)
}

const TEXT_HEAD = '{"value":'

/** What has no JSON, or that of something else, and is kept by the structured encoding; `undefined` for all others. */
function kindOf(value: unknown): { readonly name: string; readonly content: unknown } | undefined {
  if (value === undefined) return { name: 'undefined', content: 0 }
  if (typeof value === 'bigint') return { name: 'bigint', content: String(value) }
  if (Object.is(value, -0)) return { name: 'number', content: '-0' }
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : { name: 'number', content: String(value) }
  if (value instanceof Date) return { name: 'Date', content: value.toJSON() }
  if (value instanceof Map || value instanceof Set) return { name: value.constructor.name, content: [...value] }
  if (value instanceof RegExp) return { name: 'RegExp', content: String(value) }
  if (value instanceof Error) return { name: 'Error', content: [value.name, value.message] }
  if (!ArrayBuffer.isView(value)) return undefined
  const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
  return { name: value.constructor.name, content: toHex(bytes) }
}
