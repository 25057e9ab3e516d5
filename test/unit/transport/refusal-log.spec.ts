import assert from 'node:assert/strict'
import { KilovoltError } from '../../../src/base/errors.ts'
import type { PeerId } from '../../../src/model/node-id.ts'
import { RefusalLog } from '../../../src/transport/refusal-log.ts'

const [A, B] = ['a', 'b'] as PeerId[]
const OTHER_NAME = new KilovoltError('KV_HANDSHAKE', 'of another cluster')
const OTHER_COUNT = new KilovoltError('KV_HANDSHAKE', 'of other partitions')

describe('the log of refusals', () => {
  let nowMs: number
  let lines: unknown[]
  let log: RefusalLog

  beforeEach(() => {
    nowMs = 0
    lines = []
    const warn = (_message: string, fields?: Readonly<Record<string, unknown>>): void => void lines.push(fields)
    log = new RefusalLog({ monotonicMs: () => nowMs }, { warn })
  })

  it('says the same of the same peer once a minute, and how often it has come since', () => {
    for (; nowMs < 150_000; nowMs += 1000) log.note(A, OTHER_NAME)
    const line = { peer: A, code: 'KV_HANDSHAKE', reason: 'of another cluster' }
    assert.deepEqual(lines, [line, { ...line, alsoSince: 59 }, { ...line, alsoSince: 59 }])
  })

  it('says at once what is new: another peer, another reason', () => {
    for (const peer of [A, B, undefined])
      for (const error of [OTHER_NAME, OTHER_COUNT, OTHER_NAME]) log.note(peer, error)
    assert.equal(lines.length, 6)
  })

  it('forgets the oldest of very many', () => {
    for (let i = 0; i < 1001; i++) log.note(`peer ${i}` as PeerId, OTHER_NAME)
    log.note('peer 1000' as PeerId, OTHER_NAME)
    assert.equal(lines.length, 1001)
    log.note('peer 0' as PeerId, OTHER_NAME)
    assert.equal(lines.length, 1002)
  })
})
