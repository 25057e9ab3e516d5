import { KilovoltError } from '../base/errors.ts'
import { nameOf } from '../model/key.ts'
import type { StoreId } from '../model/node-id.ts'
import { neededOf, type Requirement, Tally } from '../model/quorum.ts'
import type { RecordKey } from '../storage/record-store.ts'
import type { Route } from './routes.ts'

/** How one replica fared, as an error tells it. */
export interface ReplicaAnswer {
  readonly store: StoreId
  /** `ok`, `down`, `unsent`, `lost`, `timeout`, `fenced`, a `KV_*` code, `unmended`, `pending`, `unasked`, or `failed`. */
  readonly answer: string
}

/** An operation whose level is out of reach. */
export interface OutOfReach {
  readonly what: 'read' | 'write'
  readonly key: RecordKey
  readonly requirement: Requirement
  /** The owners, and the coming ones while the row changes: the level holds in each. */
  readonly sets: readonly (readonly StoreId[])[]
  readonly answers: readonly ReplicaAnswer[]
  /** Whether a copy may have done it. */
  readonly mayHaveRun: boolean
}

/** How the owners fare when too few of them can be asked, whatever those would answer; `undefined` when there are enough. */
export function foreseen(
  { replicas, sets }: Pick<Route, 'replicas' | 'sets'>,
  requirement: Requirement,
  canBeAsked: (at: number) => boolean
): readonly ReplicaAnswer[] | undefined {
  const tally = new Tally(sets, requirement)
  const answers = replicas.map((store, at) => ({ store, answer: canBeAsked(at) ? 'unasked' : 'down' }))
  for (const { store, answer } of answers) if (answer === 'down') tally.no(store)
  return tally.state === 'lost' ? answers : undefined
}

/** The error for such an operation. It names the keyspace, but not the key, which may be somebody's secret. */
export function outOfReachError(operation: OutOfReach): KilovoltError {
  const { what, key, requirement, sets, answers } = operation
  const failed = answers.filter(({ answer }) => answer !== 'ok' && answer !== 'pending' && answer !== 'unasked')
  // Damaged copies alone are in the way: one says so, since to wait for others is of no use.
  const isCorrupt = failed.length > 0 && failed.every(({ answer }) => answer === 'KV_CORRUPT')
  const copies = Math.min(...sets.map(set => set.length))
  const isTooMany = typeof requirement === 'number' && requirement > copies
  const level = typeof requirement === 'number' ? `with ${option(operation)}` : `at ${requirement}`
  const reason = isTooMany
    ? `${option(operation)} is more than the ${copies === 1 ? 'one copy there is' : `${copies} copies there are`}`
    : `it ${shortfall(operation)}: ${answers.map(({ store, answer }) => `${store.slice(0, 8)} ${answer}`).join(', ')}`
  const outcome = operation.mayHaveRun ? 'unknown' : 'not-executed'
  const stored = what === 'read' ? '' : operation.mayHaveRun ? '; a copy may have stored it' : '; no copy has stored it'
  return new KilovoltError(
    isCorrupt ? 'KV_CORRUPT' : 'KV_QUORUM_NOT_REACHED',
    `a ${what} ${level} in ${nameOf(key.keyspace)} is out of reach: ${reason}${advice(operation)}${stored} ` +
      `(partition ${key.partition})`,
    {
      retryable: !isTooMany && (!isCorrupt || answers.length > 1),
      // A read changes nothing, so there is no outcome to be in doubt of.
      details: { answers, requirement, partition: key.partition, ...(what === 'write' ? { outcome } : {}) }
    }
  )
}

function option({ what, requirement }: OutOfReach): string {
  return `${what === 'read' ? 'r' : 'w'}: ${requirement}`
}

/** Of the first set that has too few. */
function shortfall({ sets, requirement, answers }: OutOfReach): string {
  const ok = new Set(answers.filter(({ answer }) => answer === 'ok').map(({ store }) => store))
  const counts = (requirement === 'one' ? sets.slice(0, 1) : sets).map(set => ({
    size: set.length,
    needed: neededOf(set.length, requirement),
    answered: set.filter(store => ok.has(store)).length
  }))
  const { size, needed, answered } = counts.find(count => count.answered < count.needed) ??
    counts[0] ?? { size: 0, needed: 1, answered: 0 }
  return `needs ${needed} of ${size} ${size === 1 ? 'copy' : 'copies'}, ${answered} answered`
}

function advice({ sets: [owners], requirement }: OutOfReach): string {
  return owners?.length === 2 && requirement === 'quorum'
    ? '; with two copies a quorum is both of them: run a third node to survive a failure'
    : ''
}
