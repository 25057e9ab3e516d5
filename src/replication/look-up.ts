import { KilovoltError } from '../base/errors.ts'
import type { PartitionId, Ring } from '../model/partition.ts'
import type { RecordBytes } from '../model/record.ts'
import type { Clock } from '../runtime/clock.ts'
import type { TimerWheel } from '../runtime/timer-wheel.ts'
import type { Read, RecordKey, RecordStore } from '../storage/record-store.ts'
import { type Gathered, gatherMany, type Waiter } from './gather.ts'
import { Hedge, type OperationOptions } from './operation.ts'
import type { ReadBundle } from './read-bundle.ts'
import { byPartitionOf, unitsToBegin } from './units.ts'

type Found = RecordBytes | undefined

/** What reads of several keys at `one` need. */
export interface LookUpDeps {
  readonly ring: Pick<Ring, 'partitionOf'>
  readonly records: Pick<RecordStore, 'getMany'>
  readonly wheel: TimerWheel
  readonly clock: Pick<Clock, 'monotonicMs'>
  /** Whether the local copy of a partition is all that is needed. */
  readonly isHere: (partition: PartitionId) => boolean
  /** Told how many keys are looked up. */
  readonly begun: (count: number) => void
  /** What of a record a reader sees. */
  readonly visible: (record: Found) => Found
  /** Told of each key that fails; returns what it is to fail with. */
  readonly failed: (error: unknown) => unknown
  /** Reads a key as if by itself; */
  readonly get: (key: Uint8Array) => Found | Promise<Found>
  /** or by asking others, as it cannot be read here. */
  readonly getAlone: (place: RecordKey, options: OperationOptions) => Promise<Found>
}

/**
 * Reads several keys at `one`. Those of one partition that is kept here are looked up as of one moment, so that of a batch that
 * is being stored all is seen or nothing. Mostly at once; while a unit is being written to a disk it takes a moment.
 */
export function lookUpMany(
  keyspace: Uint8Array,
  keys: readonly Uint8Array[],
  options: OperationOptions,
  deps: LookUpDeps
): Promise<Gathered<Found>> {
  const units = byPartitionOf(keys.length, i => deps.ring.partitionOf(keys[i]!))
  return gatherMany<ReadBundle, Found>(keys.length, options.signal, {
    open: () => undefined,
    add: (_bundle, gather, number) => {
      const { partition, first, rest } = units[number]!
      const indexes = rest === undefined ? [first] : [first, ...rest]
      if (indexes.length > 1 && deps.isHere(partition)) {
        const places = indexes.map(i => ({ partition, keyspace, key: keys[i]! }))
        lookUp(indexes, places, options, gather, deps)
      } else for (const i of indexes) gather.resolve(i, deps.get(keys[i]!))
    },
    units: unitsToBegin(units)
  })
}

function lookUp(
  indexes: readonly number[],
  places: readonly RecordKey[],
  options: OperationOptions,
  waiter: Waiter<Found>,
  { records, wheel, clock, begun, visible, failed, getAlone }: LookUpDeps
): void {
  begun(indexes.length)
  const { timeoutMs } = options
  const deadlineMs = clock.monotonicMs() + timeoutMs
  const alone = (at: number): void => {
    const left = { ...options, timeoutMs: Math.max(1, deadlineMs - clock.monotonicMs()) }
    waiter.resolve(indexes[at]!, getAlone(places[at]!, left))
  }
  const take = (reads: readonly Read[]): void => {
    for (const [at, read] of reads.entries()) {
      if (read instanceof Error) alone(at)
      else waiter.resolve(indexes[at]!, visible(read))
    }
  }
  const reads = records.getMany(places)
  if (!(reads instanceof Promise)) return take(reads)
  const deadline = new Hedge()
  let isOver = false
  const once = (end: () => void): void => {
    if (isOver) return
    isOver = true
    wheel.cancel(deadline)
    end()
  }
  deadline.next = () =>
    once(() => {
      const error = new KilovoltError('KV_TIMEOUT', `a read did not finish within ${timeoutMs} ms`, { retryable: true })
      for (const index of indexes) waiter.reject(index, failed(error))
    })
  wheel.add(deadline, timeoutMs)
  reads.then(
    list => once(() => take(list)),
    () => once(() => places.forEach((_, at) => alone(at)))
  )
}
