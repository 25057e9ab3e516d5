import { KilovoltError } from '../base/errors.ts'
import type { PartitionId, Ring } from '../model/partition.ts'
import type { RecordBytes } from '../model/record.ts'
import type { Stamp } from '../model/stamp.ts'
import type { KeyedRecord, StampSource } from '../storage/record-store.ts'
import type { Units, Waiter } from './gather.ts'
import { recordOf, type WriteOf } from './stamped.ts'
import { UNIT_BYTES_MAX, UNIT_MAX } from './wire.ts'

/**
 * Writes of one call that lie in one partition, by their numbers in the call. They get one stamp, travel in one message, and
 * a replica stores all of them or none; one alone is a unit of itself.
 */
export interface Unit {
  readonly partition: PartitionId
  readonly first: number
  /** The numbers of the others; `undefined` when there are none, as most often. */
  rest: number[] | undefined
}

/**
 * The units of a call, in the order of their first writes.
 *
 * @throws KilovoltError `KV_BATCH_TOO_LARGE`
 */
export function unitsOf(writes: readonly WriteOf[], ring: Pick<Ring, 'partitionOf'>): Unit[] {
  const units = byPartitionOf(writes.length, i => ring.partitionOf(writes[i]!.key))
  for (const { first, rest } of units) if (rest !== undefined) assertSize(first, rest, writes)
  return units
}

/** Operations by their partitions, in the order of the first of each. */
export function byPartitionOf(count: number, partitionOf: (index: number) => PartitionId): Unit[] {
  const units: Unit[] = []
  const byPartition = new Map<PartitionId, Unit>()
  for (let i = 0; i < count; i++) {
    const partition = partitionOf(i)
    const known = byPartition.get(partition)
    if (known === undefined) {
      const unit = { partition, first: i, rest: undefined }
      byPartition.set(partition, unit)
      units.push(unit)
    } else if (known.rest === undefined) known.rest = [i]
    else known.rest.push(i)
  }
  return units
}

/** The units of a call for who begins them one after the other. */
export function unitsToBegin<Result>(units: readonly Unit[]): Units<Result> {
  return {
    count: units.length,
    sizeOf: number => 1 + (units[number]!.rest?.length ?? 0),
    reject: (waiter, number, error) => {
      const { first, rest = [] } = units[number]!
      for (const index of [first, ...rest]) waiter.reject(index, error)
    }
  }
}

/** The record of each write of a call: of a unit all have the same stamp. */
export function recordsOf(
  units: readonly Unit[],
  writes: readonly WriteOf[],
  stamps: readonly Stamp[]
): readonly RecordBytes[] {
  const records: RecordBytes[] = Array.from({ length: writes.length })
  for (let u = 0; u < units.length; u++) {
    const { first, rest } = units[u]!
    const stamp = stamps[u]!
    records[first] = recordOf(stamp, writes[first]!)
    if (rest !== undefined) for (const i of rest) records[i] = recordOf(stamp, writes[i]!)
  }
  return records
}

/** So many stamps, one for each unit of a call; a promise only when the source makes wait. */
export function drawStamps(
  source: Pick<StampSource, 'next'>,
  count: number
): readonly Stamp[] | Promise<readonly Stamp[]> {
  const drawn: Stamp[] = []
  while (drawn.length < count) {
    const stamp = source.next()
    if (stamp instanceof Promise) return drawLater(source, count, drawn, stamp)
    drawn.push(stamp)
  }
  return drawn
}

async function drawLater(
  source: Pick<StampSource, 'next'>,
  count: number,
  drawn: Stamp[],
  next: Promise<Stamp>
): Promise<readonly Stamp[]> {
  drawn.push(await next)
  while (drawn.length < count) drawn.push(await source.next())
  return drawn
}

/** The rest of a unit as it travels. */
export function restOf(
  { rest }: Unit,
  writes: readonly WriteOf[],
  records: readonly RecordBytes[]
): readonly KeyedRecord[] | undefined {
  return rest?.map(i => ({ key: writes[i]!.key, record: records[i]! }))
}

/** Bytes of keys and records of a unit. */
export function unitBytes(key: Uint8Array, record: RecordBytes, rest: readonly KeyedRecord[] | undefined): number {
  let bytes = key.length + record.length
  if (rest !== undefined) for (const write of rest) bytes += write.key.length + write.record.length
  return bytes
}

/** The rest of a unit under another stamp, as the first one gets it. */
export function restampRest(
  rest: readonly KeyedRecord[] | undefined,
  stamp: Stamp,
  restamped: (record: RecordBytes, stamp: Stamp) => RecordBytes
): readonly KeyedRecord[] | undefined {
  return rest?.map(({ key, record }) => ({ key, record: restamped(record, stamp) }))
}

/** What a unit has found: whether there was a live value, and of its rest 1 or 0 for each. */
export interface UnitResult {
  readonly existed: boolean
  readonly rest?: Uint8Array | undefined
}

/** The one of two such answers, or both, that found a value. */
export function mergedRest(a: Uint8Array | undefined, b: Uint8Array | undefined): Uint8Array | undefined {
  if (a === undefined || b === undefined) return a ?? b
  return a.map((existed, i) => existed | (b[i] ?? 0))
}

/** Waits for a unit on behalf of who waits for each of its writes. */
export class UnitWaiter implements Waiter<UnitResult> {
  readonly #unit: Unit
  readonly #waiter: Waiter<UnitResult>

  constructor(unit: Unit, waiter: Waiter<UnitResult>) {
    this.#unit = unit
    this.#waiter = waiter
  }

  resolve(_index: number, result: UnitResult | Promise<UnitResult>): void {
    if (result instanceof Promise) {
      result.then(
        found => this.resolve(0, found),
        (error: unknown) => this.reject(0, error)
      )
      return
    }
    const { first, rest = [] } = this.#unit
    this.#waiter.resolve(first, { existed: result.existed })
    for (const [at, index] of rest.entries()) this.#waiter.resolve(index, { existed: result.rest?.[at] === 1 })
  }

  reject(_index: number, error: unknown): void {
    const { first, rest = [] } = this.#unit
    for (const index of [first, ...rest]) this.#waiter.reject(index, error)
  }
}

function assertSize(first: number, rest: readonly number[], writes: readonly WriteOf[]): void {
  const operations = rest.length + 1
  let bytes = 0
  for (const i of [first, ...rest]) bytes += writes[i]!.key.length + (writes[i]!.value?.length ?? 0)
  if (operations <= UNIT_MAX && bytes <= UNIT_BYTES_MAX) return
  throw new KilovoltError(
    'KV_BATCH_TOO_LARGE',
    `${operations} operations of a batch, of ${bytes} bytes, lie in one partition, which stores them together or not at all; ` +
      `the limits are ${UNIT_MAX} operations and ${UNIT_BYTES_MAX} bytes: nothing was sent, make smaller batches`,
    { details: { operations, bytes, operationsMax: UNIT_MAX, bytesMax: UNIT_BYTES_MAX } }
  )
}
