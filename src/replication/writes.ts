import { copyBytes } from '../base/bytes.ts'
import { type RecordBytes, restampWrite } from '../model/record.ts'
import type { KeyedRecord, RecordKey } from '../storage/record-store.ts'
import type { CallOptions } from './call.ts'
import type { Coordination } from './coordination.ts'
import { type Gathered, gatherMany, Single } from './gather.ts'
import type { OperationOptions } from './operation.ts'
import { type PutKind, PutOperation, type PutResult } from './put-operation.ts'
import { type PlannedWrite, plannedRecord, recordOf, type WriteOf } from './stamped.ts'
import { BUNDLED_BYTES_MAX } from './turn-bundles.ts'
import {
  drawStamps,
  recordsOf,
  restampRest,
  restOf,
  type Unit,
  unitBytes,
  unitsOf,
  unitsToBegin,
  UnitWaiter
} from './units.ts'
import type { LoneWrite, Stored, WriteBundle } from './write-bundle.ts'
import { ROOM_FROM_BYTES } from './write-room.ts'

/** The writes of a coordinator that it stamps itself. */
export class Writes {
  readonly #shared: Coordination

  constructor(shared: Coordination) {
    this.#shared = shared
  }

  /** Stores a value, or a tombstone when it is `undefined`. The value is copied before this returns. */
  put(keyspace: Uint8Array, key: Uint8Array, value: Uint8Array | undefined, options: CallOptions): Promise<Stored> {
    this.#shared.stats.writes++
    const place = { partition: this.#shared.deps.ring.partitionOf(key), keyspace, key }
    const { packed } = options
    const stamp = this.#shared.deps.stamps.next()
    const { ttl } = options
    if (!(stamp instanceof Promise)) return this.#store(place, recordOf(stamp, { value, ttl, packed }), options)
    // The caller's memory is the caller's again as soon as it is waited for anything.
    const own = value && copyBytes(value)
    return this.#shared
      .inTime(stamp, options)
      .then(({ stamped, left }) => this.#store(place, recordOf(stamped, { value: own, ttl, packed }), left))
  }

  #store(place: RecordKey, record: RecordBytes, options: CallOptions): Promise<Stored> {
    const bundle = this.#shared.turn.writesFor(options, record.length)
    if (bundle === undefined) return this.#storeAlone(place, record, options)
    const single = new Single<Stored>()
    bundle.add(place, record, single, 0)
    return single.promise
  }

  #storeAlone(
    place: RecordKey,
    record: RecordBytes,
    options: CallOptions,
    rest?: readonly KeyedRecord[],
    isHeld = false
  ): Promise<Stored> {
    const kind = options.requirement === 'any' ? 'any' : 'write'
    return this.#putAlone(place, record, this.#shared.options(options), kind, rest, isHeld)
  }

  /**
   * As {@link Writes.put}, of several keys; the values are copied before this returns. Those of one partition are stored
   * together or not at all by each replica.
   *
   * @throws KilovoltError `KV_BATCH_TOO_LARGE`, when nothing was sent
   */
  async putMany(keyspace: Uint8Array, writes: readonly WriteOf[], options: CallOptions): Promise<Gathered<Stored>> {
    const units = unitsOf(writes, this.#shared.deps.ring)
    this.#shared.stats.writes += writes.length
    const stamps = drawStamps(this.#shared.deps.stamps, units.length)
    if (!(stamps instanceof Promise))
      return this.#storeMany(keyspace, units, writes, recordsOf(units, writes, stamps), options)
    // The caller's memory is the caller's again as soon as it is waited for anything.
    const own = writes.map(write => ({ ...write, value: write.value && copyBytes(write.value) }))
    const { stamped, left } = await this.#shared.inTime(stamps, options)
    return this.#storeMany(keyspace, units, own, recordsOf(units, own, stamped), left)
  }

  #storeMany(
    keyspace: Uint8Array,
    units: readonly Unit[],
    writes: readonly WriteOf[],
    records: readonly RecordBytes[],
    options: CallOptions
  ): Promise<Gathered<Stored>> {
    return gatherMany<WriteBundle, Stored>(writes.length, options.signal, {
      open: () => this.#shared.turn.writes(options),
      add: (bundle, gather, number) => {
        const unit = units[number]!
        const { key } = writes[unit.first]!
        const record = records[unit.first]!
        const place = { partition: unit.partition, keyspace, key }
        const rest = restOf(unit, writes, records)
        const waiter = rest === undefined ? gather : new UnitWaiter(unit, gather)
        const bytes = rest === undefined ? record.length : unitBytes(key, record, rest)
        if (bundle !== undefined && bytes <= BUNDLED_BYTES_MAX) bundle.add(place, record, waiter, unit.first, rest)
        else waiter.resolve(unit.first, this.#storeAlone(place, record, options, rest, true))
      },
      units: unitsToBegin(units)
    })
  }

  /** One write by itself, of what was made of a record that was read; the value is copied before this returns. */
  async write(keyspace: Uint8Array, key: Uint8Array, plan: PlannedWrite, options: CallOptions): Promise<PutResult> {
    this.#shared.stats.writes++
    const place = { partition: this.#shared.deps.ring.partitionOf(key), keyspace, key }
    const { ttl, requirement } = options
    const { stamped: record, left } = await this.#shared.inTime(plannedRecord(plan, ttl, this.#shared.deps), options)
    const kind = plan.after !== undefined ? 'extended' : requirement === 'any' ? 'any' : 'write'
    return this.#putAlone(place, record, { ...this.#shared.options(left), keepsExpiry: ttl === undefined }, kind)
  }

  #putAlone(
    place: RecordKey,
    record: RecordBytes,
    options: OperationOptions,
    kind: PutKind,
    rest?: readonly KeyedRecord[],
    isHeld = false
  ): Promise<PutResult> {
    const bytes = rest === undefined ? record.length : unitBytes(place.key, record, rest)
    if (bytes <= ROOM_FROM_BYTES) return this.#put(place, record, options, kind, rest)
    return this.#shared.room.run({ ...options, bytes, isHeld }, leftMs =>
      this.#put(place, record, { ...options, leftMs }, kind, rest)
    )
  }

  async #put(
    place: RecordKey,
    record: RecordBytes,
    options: OperationOptions,
    kind: PutKind,
    rest?: readonly KeyedRecord[]
  ): Promise<PutResult> {
    try {
      const result = await this.#shared.track(new PutOperation(this.#shared.deps, place, record, options, kind, rest))
      this.#shared.stats.restamped += result.restamps
      return result
    } catch (error) {
      throw this.#shared.failed(error)
    }
  }

  /** A write of a bundle goes on by itself. */
  async goOn({ place, record, rest, behind }: LoneWrite, options: OperationOptions): Promise<Stored> {
    // Else it stays the same record: who has it already takes it for that, and not for a second write of the value.
    if (behind === undefined) return this.#putAlone(place, record, options, 'write', rest)
    const { stats, deps, inTime } = this.#shared
    stats.restamped++
    const drawn = deps.stamps.next(behind)
    const { stamped, left } =
      drawn instanceof Promise ? await inTime(drawn, options, options.isRepeat) : { stamped: drawn, left: options }
    const again = restampRest(rest, stamped, restampWrite)
    return this.#putAlone(place, restampWrite(record, stamped), left, 'write', again)
  }
}
