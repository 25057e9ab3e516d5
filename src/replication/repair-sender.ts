import type { StoreId } from '../model/node-id.ts'
import type { RecordBytes } from '../model/record.ts'
import type { RecordKey } from '../storage/record-store.ts'
import { MessageType } from '../transport/message-type.ts'
import {
  BUNDLE_BYTES_MAX,
  BUNDLE_MAX,
  decodeWriteAnswers,
  encodePuts,
  type WriteAnswer,
  writeAnswerOf
} from './bundle-wire.ts'
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

/** A record, and where it belongs. */
export interface PlacedRecord extends RecordKey {
  readonly record: RecordBytes
}

/** Offers several records to one replica; see {@link sendRepairs}. */
export type RepairMany = (
  store: StoreId,
  records: readonly PlacedRecord[],
  epoch: number,
  timeoutMs: number
) => Promise<readonly boolean[]>

/**
 * Offers several records to one replica, in as few messages as hold them: by far cheaper than one by one. Resolves to whether it
 * holds each of them, or something newer, now. Never rejects.
 */
export async function sendRepairs(
  deps: Pick<OperationDeps, 'self' | 'replica' | 'transport' | 'topology'>,
  ...[store, records, epoch, timeoutMs]: Parameters<RepairMany>
): Promise<readonly boolean[]> {
  const requests = records.map(({ partition, keyspace, key, record }): PutRequest => ({
    partition,
    keyspace,
    key,
    record,
    exempt: false,
    repair: true
  }))
  const answers = await Promise.all(
    messagesOf(requests).map(message => askToHold(deps, store, message, epoch, timeoutMs))
  )
  return answers.flat().map(answer => answer.kind === 'stored' || (answer.kind === 'behind' && answer.existed))
}

function messagesOf(requests: readonly PutRequest[]): PutRequest[][] {
  const messages: PutRequest[][] = []
  let bytes = Infinity
  for (const request of requests) {
    bytes += request.key.length + request.record.length
    if (bytes > BUNDLE_BYTES_MAX || messages.at(-1)?.length === BUNDLE_MAX) {
      messages.push([])
      bytes = request.key.length + request.record.length
    }
    messages.at(-1)!.push(request)
  }
  return messages
}

function askToHold(
  { self, replica, transport, topology }: Pick<OperationDeps, 'self' | 'replica' | 'transport' | 'topology'>,
  store: StoreId,
  requests: readonly PutRequest[],
  epoch: number,
  timeoutMs: number
): Promise<readonly WriteAnswer[]> {
  const failed = requests.map((): WriteAnswer => ({ kind: 'failed' }))
  return new Promise(resolve => {
    if (store === self) {
      // What a store in memory keeps must not be a view of a whole page.
      const own = requests.map((request): PutRequest => ({ ...request, record: new Uint8Array(request.record) }))
      return replica.putMany(own, epoch, (_error, answers) => resolve(answers?.map(writeAnswerOf) ?? failed))
    }
    const peer = topology()?.members.get(store)?.peerId
    if (peer === undefined) return resolve(failed)
    const body = encodePuts(requests, false, true)
    transport.request(peer, { type: MessageType.PUTS, class: 'bulk', body, timeoutMs }, outcome => {
      try {
        resolve(outcome.kind === 'reply' ? decodeWriteAnswers(outcome.body, requests.length) : failed)
      } catch {
        // An answer that makes no sense is none.
        resolve(failed)
      }
    })
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
