import type { Violation } from './violation.ts'

/** One operation on a key with siblings, as a client has seen it. Every value is put once. */
export interface SiblingOperation {
  readonly kind: 'put' | 'delete' | 'get'
  readonly key: string
  /** What was put. */
  readonly value?: string
  /** What its author had read of the key, and meant to replace. */
  readonly seen: readonly string[]
  /** Whether it was asked of a majority at least: less promises nothing. */
  readonly isQuorum: boolean
  readonly beganMs: number
  /** When its outcome was known; `Infinity` until then. */
  endedMs: number
  outcome: 'ok' | 'unknown' | 'failed'
  /** What a read has found. */
  found?: readonly string[]
}

/** Names of the promises. */
export const SIBLING_RULES = {
  kept: 'no put is lost to one that has not seen it',
  replaced: 'what was replaced stays replaced',
  once: 'a write is one sibling',
  counted: 'counters come to the true sum'
} as const

/**
 * Checks what reads at a majority have found against what was acknowledged before each began: a value is there unless somebody who
 * had read it has written since; it is not there when such a write was acknowledged; and it is there once.
 */
export function checkSiblings(operations: readonly SiblingOperation[]): Violation[] {
  const violations: Violation[] = []
  const byKey = new Map<string, SiblingOperation[]>()
  for (const operation of operations) {
    const list = byKey.get(operation.key)
    if (list === undefined) byKey.set(operation.key, [operation])
    else list.push(operation)
  }
  for (const [key, list] of byKey) {
    const writes = list.filter(({ kind, outcome }) => kind !== 'get' && outcome !== 'failed')
    const replacers = new Map<string, SiblingOperation[]>()
    for (const write of writes) {
      for (const value of write.seen) replacers.set(value, [...(replacers.get(value) ?? []), write])
    }
    for (const read of list) {
      if (read.kind === 'get' && read.outcome === 'ok' && read.isQuorum)
        violations.push(...checkRead(key, read, writes, replacers))
    }
  }
  return violations
}

function checkRead(
  key: string,
  { beganMs, endedMs, found = [] }: SiblingOperation,
  writes: readonly SiblingOperation[],
  replacers: ReadonlyMap<string, readonly SiblingOperation[]>
): Violation[] {
  const violations: Violation[] = []
  const tell = (rule: string, what: string): void => {
    violations.push({
      rule,
      message: `${key}, read from ${beganMs} to ${endedMs} ms as [${found.join(', ')}]: ${what}`
    })
  }
  const there = new Set(found)
  if (there.size < found.length) tell(SIBLING_RULES.once, 'a value is there twice')
  for (const { value, outcome, isQuorum, endedMs: storedMs } of writes) {
    if (value === undefined || outcome !== 'ok' || !isQuorum || storedMs >= beganMs || there.has(value)) continue
    const isReplaced = replacers.get(value)?.some(write => write.beganMs <= endedMs) === true
    if (!isReplaced)
      tell(SIBLING_RULES.kept, `${value} was acknowledged at ${storedMs} ms, and nobody who saw it has written since`)
  }
  for (const value of there) {
    const by = replacers.get(value)?.find(write => write.outcome === 'ok' && write.isQuorum && write.endedMs < beganMs)
    if (by !== undefined) {
      tell(
        SIBLING_RULES.replaced,
        `${value} was replaced by ${by.value ?? 'a deletion'}, acknowledged at ${by.endedMs} ms`
      )
    }
  }
  return violations
}
