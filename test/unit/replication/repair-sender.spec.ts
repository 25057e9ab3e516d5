import assert from 'node:assert/strict'
import { KilovoltError } from '../../../src/base/errors.ts'
import type { PeerId } from '../../../src/model/node-id.ts'
import { decodePuts, encodeWriteAnswers, type WriteAnswer } from '../../../src/replication/bundle-wire.ts'
import { Repairs, sendRepairs } from '../../../src/replication/repair-sender.ts'
import type { PutReply, PutRequest } from '../../../src/replication/wire.ts'
import type { RecordBytes } from '../../../src/model/record.ts'
import type { RecordKey } from '../../../src/storage/record-store.ts'
import { MessageType } from '../../../src/transport/message-type.ts'
import type { Outcome, OutgoingRequest } from '../../../src/transport/transport.ts'
import { numbers, peerNumber, store, topology } from '../cluster/fixtures.ts'
import { record, tombstone } from './bench.ts'

const STORED = { kind: 'stored', existed: false } as const

interface PlacedRecord extends RecordKey {
  readonly record: RecordBytes
}

function records(count: number, bytes = 3): PlacedRecord[] {
  return Array.from({ length: count }, (_, i) => ({
    partition: 7,
    keyspace: new Uint8Array(0),
    key: Uint8Array.of(i >> 8, i & 255),
    record: record(i + 1, 'v'.repeat(bytes))
  }))
}

describe('repairs of many records', () => {
  const sent: PutRequest[][] = []
  /** What others say to a message, and this node's own copies. */
  let outcome: (requests: readonly PutRequest[]) => Outcome
  let own: (request: PutRequest) => PutReply | KilovoltError
  const here: PutRequest[] = []

  beforeEach(() => {
    sent.length = here.length = 0
    outcome = requests => reply(requests.map(() => STORED))
    own = () => STORED
  })

  function reply(answers: readonly WriteAnswer[]): Outcome {
    return { kind: 'reply', epoch: 10, body: encodeWriteAnswers(answers) }
  }

  function send(to: number, all: readonly PlacedRecord[]): Promise<readonly boolean[]> {
    const deps = {
      self: store(1),
      topology: () => topology(numbers(3)),
      transport: {
        request: (peer: PeerId, { type, body }: OutgoingRequest, done: (outcome: Outcome) => void) => {
          assert.deepEqual([peerNumber(peer), type], [to, MessageType.PUTS])
          const requests = decodePuts(body)
          sent.push(requests)
          done(outcome(requests))
        }
      },
      replica: {
        putMany: (
          requests: readonly PutRequest[],
          _epoch: number,
          done: (error: undefined, replies: readonly (PutReply | KilovoltError)[]) => void
        ) => {
          here.push(...requests)
          done(undefined, requests.map(own))
        }
      }
    } as unknown as Parameters<typeof sendRepairs>[0]
    const repairs = new Repairs()
    for (const one of all) repairs.add(one, one.record)
    return sendRepairs(deps, store(to), repairs, 10, 1000)
  }

  it('go together, as what is not judged as fresh writes are', async () => {
    const all = records(3)
    assert.deepEqual(await send(2, all), [true, true, true])
    assert.equal(sent.length, 1)
    assert.ok(sent[0]!.every(({ repair, exempt }) => repair && !exempt))
    assert.deepEqual(
      sent[0]!.map(({ key, record: one }) => [Buffer.from(key), Buffer.from(one)]),
      all.map(({ key, record: one }) => [Buffer.from(key), Buffer.from(one)])
    )
  })

  it('are as many messages as hold them, and one for what is larger', async () => {
    assert.ok((await send(2, records(600))).every(Boolean))
    assert.deepEqual(
      sent.map(({ length }) => length),
      [512, 88]
    )
    sent.length = 0
    assert.ok((await send(2, records(5, 400_000))).every(Boolean))
    assert.deepEqual(
      sent.map(({ length }) => length),
      [2, 2, 1]
    )
    sent.length = 0
    assert.deepEqual(await send(2, records(1, 1_100_000)), [true])
    assert.deepEqual(await send(2, []), [])
    assert.equal(sent.length, 1)
  })

  it('say of each whether it is held now, or something newer', async () => {
    outcome = () =>
      reply([
        STORED,
        { kind: 'behind', hlc: 9, existed: true },
        { kind: 'behind', hlc: 9, existed: false },
        { kind: 'fenced' },
        { kind: 'refused' },
        { kind: 'failed' }
      ])
    assert.deepEqual(await send(2, records(6)), [true, true, false, false, false, false])
  })

  it('have come to nothing where nobody answers, what is answered makes no sense, or nobody is known', async () => {
    for (const one of [{ kind: 'timeout' }, { kind: 'reply', epoch: 10, body: Uint8Array.of(99) }] as const) {
      outcome = () => one
      assert.deepEqual(await send(2, records(2)), [false, false])
    }
    sent.length = 0
    assert.deepEqual(await send(8, records(2)), [false, false])
    assert.equal(sent.length, 0)
  })

  it('of one’s own copies are as those of others, and keep no view of what they are made of', async () => {
    const all = records(2)
    own = ({ key }) =>
      key[1] === 0 ? { kind: 'stale', current: tombstone(5) } : new KilovoltError('KV_STORAGE', 'the disk is on fire')
    assert.deepEqual(await send(1, all), [true, false])
    assert.equal(sent.length, 0)
    for (const [i, { record: kept }] of here.entries()) {
      assert.deepEqual(Buffer.from(kept), Buffer.from(all[i]!.record))
      assert.notEqual(kept.buffer, all[i]!.record.buffer)
    }
  })
})
