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

/** JSON in which the order of fields says nothing, and what has no JSON is told apart by its kind. */
function textOf(value: unknown): string {
  const text = JSON.stringify(value, (_key, part: unknown) => {
    if (typeof part === 'bigint') return `${part}n`
    if (part instanceof Map) return ['Map', ...part]
    if (part instanceof Set) return ['Set', ...part]
    return isPlain(part) ? Object.fromEntries(Object.entries(part).toSorted(([a], [b]) => (a < b ? -1 : 1))) : part
  })
  return text ?? typeof value
}
