import { copyBytes } from '../base/bytes.ts'
import type { Causality } from '../model/causality.ts'
import { nameOf } from '../model/sibling-form.ts'
import type { RecordKey } from '../storage/record-store.ts'
import type { CallOptions } from './call.ts'
import type { Coordination } from './coordination.ts'
import { MintCall, type Minted } from './mint-call.ts'
import type { MintRequest } from './mint-wire.ts'
import type { OperationOptions } from './operation.ts'
import { type Holder, PutOperation } from './put-operation.ts'
import type { Stored } from './write-bundle.ts'
import { ROOM_FROM_BYTES } from './write-room.ts'

/** A write of a keyspace with siblings; without a value it deletes. */
export interface SiblingWriteOf {
  readonly value: Uint8Array | undefined
  readonly packed?: boolean | undefined
  /** What its author has seen, and takes the place of; `undefined` for nothing. */
  readonly context: Causality | undefined
  /** Name of the write, where it has one already. */
  readonly id?: string
  /** Acknowledged in another cluster. */
  readonly brought?: boolean
}

/**
 * The writes of a coordinator in keyspaces with siblings, in two steps: one owner mints the sibling, and what that holds of the
 * key then is given to the others like any record. It counts as one of them.
 */
export class SiblingWrites {
  readonly #shared: Coordination

  constructor(shared: Coordination) {
    this.#shared = shared
  }

  /** The value is copied before this returns. */
  mint(keyspace: Uint8Array, key: Uint8Array, write: SiblingWriteOf, call: CallOptions): Promise<Stored> {
    const { deps, stats, options, room } = this.#shared
    stats.writes++
    const place = { partition: deps.ring.partitionOf(key), keyspace, key }
    const own = { ...write, value: write.value && copyBytes(write.value) }
    const minted = { ...options(call), ttl: call.ttl }
    const bytes = own.value?.length ?? 0
    if (bytes <= ROOM_FROM_BYTES) return this.mintAt(place, own, minted)
    return room.run({ ...minted, bytes }, timeoutMs => this.mintAt(place, own, { ...minted, timeoutMs }))
  }

  /** As {@link SiblingWrites.mint}, of a value that is nobody else's. */
  async mintAt(
    place: RecordKey,
    { value, packed = false, context, id, brought = false }: SiblingWriteOf,
    { ttl, ...options }: OperationOptions & Pick<CallOptions, 'ttl'>
  ): Promise<Stored> {
    const { deps, track, failed, inTime } = this.#shared
    const deadlineMs = deps.clock.monotonicMs() + options.timeoutMs
    const drawn = deps.stamps.next()
    const { stamped: stamp, left } =
      drawn instanceof Promise ? await inTime(drawn, options) : { stamped: drawn, left: options }
    try {
      const exempt = options.requirement === 'one'
      const { partition, keyspace, key } = place
      const request: MintRequest = {
        partition,
        keyspace,
        key,
        exempt,
        id: id ?? nameOf(stamp),
        context,
        value,
        packed,
        ttl,
        brought,
        again: false
      }
      const { record, existed, ...holder } = deps.rules.mintAtOwner
        ? await track(new MintCall(deps, request, left))
        : { record: deps.minter.mintBlindly(request, stamp), existed: false }
      const timeoutMs = Math.max(1, deadlineMs - deps.clock.monotonicMs())
      const rest = { ...options, timeoutMs, isRepeat: deps.rules.mintAtOwner }
      const by = isHolder(holder) ? holder : undefined
      await track(new PutOperation(deps, place, record, rest, 'minted', undefined, by))
      return { existed }
    } catch (error) {
      throw failed(error)
    }
  }
}

function isHolder(holder: Partial<Pick<Minted, 'store' | 'epoch'>>): holder is Holder {
  return holder.store !== undefined
}
