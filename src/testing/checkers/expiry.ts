import type { ConsistencyLevel } from '../../model/quorum.ts'
import type { Violation } from './violation.ts'

/**
 * One operation on values that expire. Places in time are numbers of one order over the whole run; times are Unix ms as clocks
 * show them.
 */
export interface TimedOperation {
  readonly kind: 'put' | 'delete' | 'touch' | 'persist' | 'get'
  readonly key: string
  readonly level: ConsistencyLevel
  readonly client: string
  /** Of a put: what was written; no two puts write the same. */
  readonly value: string | undefined
  /** Of a put or a touch, ms; `undefined` for ever. */
  readonly ttl: number | undefined
  readonly began: number
  /** `undefined` while it runs, and of one whose node was lost. */
  ended: number | undefined
  outcome: 'ok' | 'failed' | 'unknown'
  /** Of a delete, a touch or a persist: what it resolved with. */
  told: boolean | undefined
  /** Of a get: what it found. */
  found: string | undefined
  /** Of a get that tells it: when that expires. */
  expiresAt: number | undefined
  /** Least time that the clock of its node showed while it ran; −∞ when that is not known. */
  low: number
  /** Least time that any clock showed while it ran. */
  lowest: number
  /** Greatest hybrid time that there can have been by its end. */
  highest: number
}

/**
 * Checks what is promised of values that expire:
 *
 * - nobody is shown a value, or told that there was one, who asks when it has expired by the clock of whoever judges that;
 * - a value has the expiry of a write or a touch that can have given it that: nothing begins to count anew;
 * - a quorum read finds the value of the last acknowledged write as long as it cannot have expired by any clock, unless some write
 *   is not over by then: it neither ends before its time nor gives way to what a `touch` had read before it.
 */
export function checkExpiry(operations: readonly TimedOperation[]): Violation[] {
  const byKey = new Map<string, TimedOperation[]>()
  for (const operation of operations) {
    if (operation.outcome === 'failed') continue
    const list = byKey.get(operation.key)
    if (list === undefined) byKey.set(operation.key, [operation])
    else list.push(operation)
  }
  return [...byKey.values()].flatMap(list => list.flatMap(operation => checkOne(operation, list)))
}

function checkOne(operation: TimedOperation, all: readonly TimedOperation[]): readonly Violation[] {
  if (operation.outcome !== 'ok') return []
  if (operation.kind === 'get') return [checkShown(operation, all), checkKept(operation, all)].flatMap(one => one ?? [])
  return operation.kind === 'delete' && operation.told === true ? (checkTold(operation, all) ?? []) : []
}

function checkShown(read: TimedOperation, all: readonly TimedOperation[]): Violation | undefined {
  if (read.found === undefined) return undefined
  const write = all.find(({ kind, value }) => kind === 'put' && value === read.found)
  if (write === undefined || write.began > read.ended!) {
    return { rule: 'reads return what was written', message: `nobody wrote what was read: ${describe(read)}` }
  }
  const { expiresAt } = read
  const setters = settersOf(write, read, all)
  const isOver = (expiresAt ?? latestEnd(setters, read)) <= read.low
  if (isOver) return { rule: SHOWN, message: `${describe(read)} is shown at ${read.low}; ${describe(write)}` }
  const isGiven = ({ kind, ttl, lowest, highest, ended }: TimedOperation): boolean => {
    const isEndless = kind === 'persist' || ttl === undefined
    if (expiresAt === undefined || isEndless)
      return expiresAt === undefined && (isEndless || !read.client.endsWith(TELLS))
    return (
      lowest + ttl <= expiresAt && expiresAt <= (ended === undefined ? Math.max(highest, read.highest) : highest) + ttl
    )
  }
  if (setters.some(isGiven)) return undefined
  return { rule: GIVEN, message: `nobody gave ${describe(read)} its expiry: ${setters.map(describe).join('; ')}` }
}

/** What the names of clients end with whose reads tell of the expiry. */
export const TELLS = '+'

const SHOWN = 'an expired value is shown to nobody'
const GIVEN = 'an expiry is one that was given'
const KEPT = 'no value ends before its time'

function checkTold(removal: TimedOperation, all: readonly TimedOperation[]): Violation[] | undefined {
  const puts = all.filter(({ kind, began }) => kind === 'put' && began < removal.ended!)
  if (puts.some(put => latestEnd(settersOf(put, removal, all), removal) > removal.lowest)) return undefined
  return [{ rule: SHOWN, message: `${describe(removal)} tells of a value when all had expired` }]
}

function checkKept(read: TimedOperation, all: readonly TimedOperation[]): Violation | undefined {
  if (read.level === 'one') return undefined
  const writes = all.filter(({ kind, began }) => (kind === 'put' || kind === 'delete') && began < read.ended!)
  const last = writes.reduce<TimedOperation | undefined>(
    (a, b) => (a !== undefined && a.began > b.began ? a : b),
    undefined
  )
  if (last?.kind !== 'put' || last.outcome !== 'ok' || last.ended! >= read.began) return undefined
  // One of unknown outcome may come into effect at any time.
  if (!writes.every(other => other === last || (other.outcome === 'ok' && other.ended! < last.began))) return undefined
  const setters = settersOf(last, read, all)
  const isPast = (setter: TimedOperation): boolean =>
    setter.outcome === 'ok' &&
    setters.some(({ outcome, told, began, ended }) => {
      return outcome === 'ok' && told === true && began > setter.ended! && ended! < read.began
    })
  const soonest = Math.min(
    ...setters
      .filter(setter => !isPast(setter))
      .map(({ kind, ttl, low }) => (kind === 'persist' || ttl === undefined ? Infinity : low + ttl))
  )
  if (read.highest >= soonest || read.found === last.value) return undefined
  return { rule: KEPT, message: `${describe(read)} by ${read.highest}, before ${soonest}; ${describe(last)}` }
}

/**
 * Whatever may have given the value of a write the expiry that it has when an operation looks at it. A touch that ends with
 * "false" may have done so for a moment, before it was outrun by a deletion.
 */
function settersOf(
  write: TimedOperation,
  by: TimedOperation,
  all: readonly TimedOperation[]
): readonly TimedOperation[] {
  const isSetter = ({ kind, began, ended }: TimedOperation): boolean =>
    (kind === 'touch' || kind === 'persist') && began < by.ended! && (ended ?? Infinity) > write.began
  return [write, ...all.filter(isSetter)]
}

/** Latest time at which a value can end. */
function latestEnd(setters: readonly TimedOperation[], by: TimedOperation): number {
  return Math.max(
    ...setters.map(({ kind, ttl, ended, highest }) => {
      if (kind === 'persist' || ttl === undefined) return Infinity
      return (ended === undefined ? Math.max(highest, by.highest) : highest) + ttl
    })
  )
}

function describe(operation: TimedOperation): string {
  const { client, kind, key, level, value, ttl, began, ended, outcome, found, expiresAt, told } = operation
  const what = kind === 'get' ? `${found ?? 'nothing'} until ${expiresAt}` : `${value ?? ''} ${ttl ?? ''} ${told ?? ''}`
  return `${client} ${kind} ${key} ${what} at ${level} [${began}–${ended ?? '…'}] ${outcome}`
}
