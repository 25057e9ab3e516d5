import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { isKilovoltError } from '../../../src/base/errors.ts'
import { Writer } from '../../../src/codec/writer.ts'
import { INCARNATION_MAX, type Rumour } from '../../../src/membership/gossip.ts'
import {
  announceable,
  decodeAck,
  decodeGossip,
  decodePing,
  decodePingRequest,
  decodeVerdict,
  decodeView,
  encodeAck,
  encodeGossip,
  encodePing,
  encodePingRequest,
  encodeVerdict,
  encodeView
} from '../../../src/membership/wire.ts'
import { toHex } from '../../../src/base/bytes.ts'
import type { ClusterId, PeerId, StoreId } from '../../../src/model/node-id.ts'
import type { Liveness } from '../../../src/model/view.ts'
import { storeId } from './fake-cluster.ts'

const id = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(toHex)
const store = id.map(text => text as StoreId)
const opinion = fc.record({
  incarnation: fc.maxSafeNat().map(n => Math.min(n, INCARNATION_MAX)),
  status: fc.constantFrom<Liveness>('alive', 'suspect', 'dead', 'left')
})
const rumour: fc.Arbitrary<Rumour> = fc.record({
  member: fc
    .record({
      storeId: store,
      peerId: fc.string({ maxLength: 60 }).map(text => text as PeerId),
      addresses: fc.array(fc.string({ maxLength: 60 }), { maxLength: 32 }),
      clusterId: fc.option(
        id.filter(text => /[^0]/u.test(text)).map(text => text as ClusterId),
        { nil: undefined }
      ),
      epoch: fc.maxSafeNat(),
      opinion
    })
    .map(({ opinion, ...facts }) => ({ ...facts, ...opinion })),
  ageMs: fc.nat(),
  accusers: fc.array(store, { maxLength: 8 })
})
const digest = fc.nat(0xffff_ffff)

/** All messages, with how they are written and read. */
const codecs = {
  gossip: fc
    .record({ sender: store, lagMs: fc.nat(), digest, rumours: fc.array(rumour, { maxLength: 4 }) })
    .map(message => ({
      message,
      bytes: encodeGossip(message),
      decode: decodeGossip as (bytes: Uint8Array) => unknown
    })),
  ping: fc
    .record({ target: store, opinion, sender: rumour })
    .map(message => ({ message, bytes: encodePing(message), decode: decodePing })),
  ack: fc
    .record({ self: rumour, lagMs: fc.nat(), digest, opinion: fc.option(opinion, { nil: undefined }) })
    .map(message => ({ message, bytes: encodeAck(message), decode: decodeAck })),
  pingRequest: fc
    .record({ target: store, opinion, timeoutMs: fc.nat(60_000) })
    .map(message => ({ message, bytes: encodePingRequest(message), decode: decodePingRequest })),
  view: fc
    .record({
      kind: fc.constantFrom('exchange' as const, 'tell' as const),
      sender: store,
      digest,
      rumours: fc.array(rumour, { maxLength: 4 })
    })
    .map(message => ({ message, bytes: encodeView(message), decode: decodeView }))
}

describe('the bytes of membership', () => {
  for (const [name, arbitrary] of Object.entries(codecs)) {
    it(`come back as they were: ${name}`, () => {
      fc.assert(
        fc.property(arbitrary as (typeof codecs)['ping'], ({ message, bytes, decode }) => {
          assert.deepEqual(decode(bytes), structuredClone(message))
        })
      )
    })

    it(`give KV_PROTOCOL when cut off or garbled, and nothing else: ${name}`, () => {
      fc.assert(
        fc.property(arbitrary as (typeof codecs)['ping'], fc.nat(), fc.nat(255), ({ bytes, decode }, at, value) => {
          const cut = bytes.slice(0, at % bytes.length)
          assert.throws(
            () => assert.equal(decode(cut), undefined, 'cut off and yet read'),
            error => isKilovoltError(error, 'KV_PROTOCOL')
          )
          const garbled = bytes.slice()
          garbled[at % bytes.length] = value
          try {
            decode(garbled)
          } catch (error) {
            assert.ok(isKilovoltError(error, 'KV_PROTOCOL'), String(error))
          }
        })
      )
    })
  }

  it('tell a helper’s success from its failure', () => {
    fc.assert(
      fc.property(codecs.ack, ({ message, bytes }) => {
        assert.deepEqual(decodeVerdict(encodeVerdict(bytes)), structuredClone(message))
      })
    )
    assert.equal(decodeVerdict(encodeVerdict(undefined)), undefined)
  })

  it('skip what a later version appends, to the message and to a rumour', () => {
    const sender: Rumour = {
      member: {
        storeId: storeId(1),
        peerId: 'p' as PeerId,
        addresses: [],
        incarnation: 1,
        status: 'alive',
        clusterId: undefined,
        epoch: 2
      },
      ageMs: 0,
      accusers: []
    }
    const bytes = encodeGossip({ sender: storeId(1), lagMs: 0, digest: 9, rumours: [sender] })
    const longer = new Uint8Array(bytes.length + 3)
    longer.set(bytes)
    assert.deepEqual(decodeGossip(longer), decodeGossip(bytes))
    // The rumour is the last thing in the message, its length the byte before it.
    const header = 1 + 1 + 16 + 1 + 4 + 1
    const grown = new Uint8Array(bytes.length + 2)
    grown.set(bytes)
    grown[header]! += 2
    assert.deepEqual(decodeGossip(grown), decodeGossip(bytes))
  })

  it('leave other messages on the topic alone', () => {
    assert.equal(decodeGossip(new Uint8Array([1, 2, 3])), undefined)
    assert.equal(decodeGossip(new Uint8Array([0x4d, 9])), undefined)
  })

  it('refuse an incarnation that could not be refuted, and a claim of many members', () => {
    const ping = new Writer()
      .raw(new Uint8Array(16))
      .varint(INCARNATION_MAX + 1)
      .u8(0)
      .finish()
    assert.throws(() => decodePingRequest(ping), { code: 'KV_PROTOCOL' })
    const view = new Writer().u8(0).raw(new Uint8Array(16)).u32(0).varint(4_000_000).finish()
    assert.throws(() => decodeView(view), { code: 'KV_PROTOCOL' })
  })

  it('bound what a node announces of itself to what others accept', () => {
    const addresses = [...Array.from({ length: 40 }, (_, i) => `/memory/${i}`), `/memory/${'x'.repeat(300)}`]
    assert.equal(announceable(addresses).length, 32)
    assert.deepEqual(announceable([`/memory/${'ü'.repeat(130)}`, '/a']), ['/a'])
  })
})
