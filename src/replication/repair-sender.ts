import type { StoreId } from '../model/node-id.ts'
import type { RecordBytes } from '../model/record.ts'
import type { RecordKey } from '../storage/record-store.ts'
import { MessageType } from '../transport/message-type.ts'
import { decodePuts, decodeWriteAnswers, RepairsWriter, type WriteAnswer, writeAnswerOf } from './bundle-wire.ts'
import type { Repair, RepairOutcome } from './get-operation.ts'
import type { OperationDeps } from './operation.ts'
import { decodePutReply, encodePut, type PutReply, type PutRequest } from './wire.ts'

/** Offers a record to one replica. Repairs carry the record as it is, and are not judged as fresh writes. */
export function sendRepair(
  { self, replica, transport, topology }: Pick<OperationDeps, 'self' | 'replica' | 'transport' | 'topology'>,
  ...[key, store, record, epoch, timeoutMs, done]: Parameters<Repair>
): void {
  const { partition, keyspace, key: name } = key
  const request: PutRequest = { partition, keyspace, key: name, record, exempt: false, repair: true }
  if (store === self) {
    replica.put(request, epoch, (_error, reply) => done(outcomeOf(reply)))
    return
  }
  const peer = topology()?.members.get(store)?.peerId
  if (peer === undefined) return done(false)
  transport.request(peer, { type: MessageType.PUT, class: 'data', body: encodePut(request), timeoutMs }, outcome => {
    done(outcome.kind === 'reply' && outcomeOf(decoded(outcome.body)))
  })
}

/** Records for one replica, as they travel: in as few messages as hold them. */
export class Repairs {
  readonly #messages: RepairsWriter[] = []

  /** Copies all that it is given. */
  add(place: RecordKey, record: RecordBytes): void {
    let message = this.#messages.at(-1)
    if (message?.hasRoomFor(record, place.key) !== true) this.#messages.push((message = new RepairsWriter()))
    message.add(place, record)
  }

  /** Bytes of each message, and how many records it has. To be called once. */
  finish(): { readonly body: Uint8Array; readonly count: number }[] {
    return this.#messages.map(message => ({ body: message.finish(), count: message.count }))
  }
}

/** Offers several records to one replica; see {@link sendRepairs}. */
export type RepairMany = (
  store: StoreId,
  repairs: Repairs,
  epoch: number,
  timeoutMs: number
) => Promise<readonly boolean[]>

/**
 * Offers several records to one replica: by far cheaper than one by one. Resolves to whether it holds each of them, or something
 * newer, now. Never rejects.
 */
export async function sendRepairs(
  deps: Pick<OperationDeps, 'self' | 'replica' | 'transport' | 'topology'>,
  ...[store, repairs, epoch, timeoutMs]: Parameters<RepairMany>
): Promise<readonly boolean[]> {
  const answers = await Promise.all(
    repairs.finish().map(({ body, count }) => askToHold(deps, store, body, count, epoch, timeoutMs))
  )
  return answers.flat()
}

async function askToHold(
  { self, replica, transport, topology }: Pick<OperationDeps, 'self' | 'replica' | 'transport' | 'topology'>,
  store: StoreId,
  body: Uint8Array,
  count: number,
  epoch: number,
  timeoutMs: number
): Promise<boolean[]> {
  const answers = await new Promise<readonly WriteAnswer[] | undefined>(resolve => {
    if (store === self)
      return replica.putMany(decodePuts(body), epoch, (_error, replies) => resolve(replies?.map(writeAnswerOf)))
    const peer = topology()?.members.get(store)?.peerId
    if (peer === undefined) return resolve(undefined)
    transport.request(peer, { type: MessageType.PUTS, class: 'bulk', body, timeoutMs }, outcome => {
      try {
        resolve(outcome.kind === 'reply' ? decodeWriteAnswers(outcome.body, count) : undefined)
      } catch {
        // An answer that makes no sense is none.
        resolve(undefined)
      }
    })
  })
  return Array.from({ length: count }, (_, i) => {
    const answer = answers?.[i]
    return answer?.kind === 'stored' || (answer?.kind === 'behind' && answer.existed)
  })
}

function outcomeOf(reply: PutReply | undefined): RepairOutcome {
  return reply?.kind === 'fenced' ? reply : reply !== undefined
}

/** An answer that makes no sense is none. */
function decoded(body: Uint8Array): PutReply | undefined {
  try {
    return decodePutReply(body)
  } catch {
    return undefined
  }
}
