import { MessageType } from '../transport/message-type.ts'
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
