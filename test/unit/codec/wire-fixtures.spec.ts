import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { fromHex, fromUtf8, toHex, utf8 } from '../../../src/base/bytes.ts'
import { decodeFrame, encodeFrame, type Message } from '../../../src/codec/frame.ts'
import { HashTree, RecordDigest } from '../../../src/model/hash-tree.ts'
import { hlcFromMs } from '../../../src/model/hlc.ts'
import type { Actor } from '../../../src/model/node-id.ts'
import { encodeIndexValue } from '../../../src/model/index-value.ts'
import { type Hash64, Ring } from '../../../src/model/partition.ts'
import {
  assertRecord,
  encodeRecord,
  encodeSiblings,
  isPacked,
  recordExpiresAt,
  recordHead,
  type RecordParts,
  recordStamp,
  recordValue,
  siblingsIn
} from '../../../src/model/record.ts'
import type { SiblingSet } from '../../../src/model/sibling-form.ts'
import {
  decodeGets,
  decodePuts,
  decodeReadAnswers,
  decodeWriteAnswers,
  encodeGets,
  encodePuts,
  RepairsWriter,
  encodeReadAnswers,
  encodeWriteAnswers,
  type ReadAnswer,
  type ReadToAsk,
  type WriteAnswer
} from '../../../src/replication/bundle-wire.ts'
import { decodeMint, decodeMintReply, encodeMint, encodeMintReply } from '../../../src/replication/mint-wire.ts'
import {
  decodeIndexPage,
  decodeIndexRequest,
  encodeIndexPage,
  encodeIndexRequest,
  type IndexPage,
  type IndexRequest
} from '../../../src/replication/index-wire.ts'
import { decodeScan, encodeScan, type ScanRequest } from '../../../src/replication/scan-wire.ts'
import {
  decodeRewind,
  decodeRewindReply,
  decodeWatch,
  decodeWatchReply,
  encodeRewind,
  encodeRewindReply,
  encodeWatch,
  encodeWatchReply
} from '../../../src/replication/watch-wire.ts'
import { dataKey } from '../../../src/storage/key-layout.ts'
import { Packing } from '../../../src/node/packing.ts'
import { loadHash64 } from '../../../src/runtime/hash.ts'
import { systemClock } from '../../../src/runtime/system-clock.ts'
import { loadZstd } from '../../../src/runtime/zstd.ts'
import { bytesOf, pageOf, type PageOfObjects } from '../../support/scan-pages.ts'

const folder = new URL('../../fixtures/wire/v1/', import.meta.url)

/** The bytes of a fixture. */
function fixture(name: string): Uint8Array {
  const text = readFileSync(new URL(`${name}.hex`, folder), 'utf8').replaceAll(/#.*/gu, '')
  return fromHex(text.replaceAll(/\s/gu, ''))!
}

const stamp = { hlc: hlcFromMs(Date.UTC(2026, 0, 2, 3, 4, 5, 678)) + 9, actor: '0123456789abcdef' as Actor }
const value = utf8('value')
const expiresAt = Date.UTC(2030, 0, 1)
/** As the first version that packed values did it; a later one may compress better. */
const packed = fromHex('00025928b52ffd6059018d0000505b2276616c7565222c5d01004c569523')!

const records: Readonly<Record<string, RecordParts>> = {
  'record-value': { stamp, value },
  'record-empty-value': { stamp, value: new Uint8Array(0) },
  'record-expiry': { stamp, value, expiresAt },
  'record-tombstone': { stamp, value: undefined },
  'record-tombstone-expiry': { stamp, value: undefined, expiresAt },
  'record-packed': { stamp, value: packed, packed: true },
  'record-greatest': { stamp: { hlc: Number.MAX_SAFE_INTEGER, actor: 'ffffffffffffffff' as Actor }, value: undefined }
}

const frames: Readonly<Record<string, readonly Message[]>> = {
  'frame-empty': [],
  'frame-one': [{ type: 0x21, id: 1, epoch: 2, body: utf8('body') }],
  'frame-many': [
    { type: 0x21, id: 127, epoch: 128, body: utf8('a') },
    { type: 0, id: 0, epoch: 0, body: new Uint8Array(0) },
    { type: 0xff, id: Number.MAX_SAFE_INTEGER, epoch: 300, body: new Uint8Array(130).fill(0xee) }
  ]
}

/** What belongs together, for comparing: a view into a message is as good as bytes of one's own. */
interface Bundled {
  readonly bytes: () => Uint8Array
  readonly decode: (bytes: Uint8Array) => unknown
  readonly content: unknown
}

const NAMED = { keyspace: utf8('ks'), exempt: false } as const
/** As whoever asks has them, who holds the first of these records itself; and as they arrive. */
const asked: readonly ReadToAsk[] = [
  { partition: 258, keyspace: utf8(''), key: utf8('key'), own: encodeRecord({ stamp, value }) },
  { partition: 258, keyspace: utf8('ks'), key: utf8('key'), own: undefined },
  { partition: 259, keyspace: utf8('ks'), key: utf8('other'), own: undefined }
]
const gets = asked.map(({ own, ...place }) => ({ ...place, exempt: false, known: own?.slice(1, 16) }))
const puts = [
  { ...NAMED, partition: 258, key: utf8('key'), record: encodeRecord({ stamp, value }) },
  { ...NAMED, partition: 259, key: utf8('other'), record: encodeRecord({ stamp, value: undefined }) }
].map(put => ({ ...put, repair: false, rest: undefined }))
const repairs = puts.map(put => ({ ...put, repair: true }))
function repairsBytes(): Uint8Array {
  const writer = new RepairsWriter()
  for (const repair of repairs) writer.add(repair, repair.record)
  return writer.finish()
}
const unit = [
  {
    ...NAMED,
    partition: 258,
    key: utf8('key'),
    record: encodeRecord({ stamp, value }),
    repair: false,
    rest: [{ key: utf8('other'), record: encodeRecord({ stamp, value: undefined }) }]
  }
]
const reads: readonly ReadAnswer[] = [
  { kind: 'record', record: encodeRecord({ stamp, value }) },
  { kind: 'none', horizon: 300 },
  { kind: 'same' },
  undefined
]
const writes: readonly WriteAnswer[] = [
  { kind: 'stored', existed: false },
  { kind: 'stored', existed: true },
  { kind: 'behind', hlc: 300, existed: true },
  { kind: 'behind', hlc: 300, existed: false },
  { kind: 'fenced' },
  { kind: 'failed' }
]

const unitAnswer: readonly WriteAnswer[] = [{ kind: 'stored', existed: true, rest: Uint8Array.of(0) }]
const scan: ScanRequest = {
  keyspace: utf8('ks'),
  range: { from: utf8('a'), to: utf8('kz') },
  isReverse: true,
  exempt: true,
  rows: 2048,
  bytes: 1024 * 1024,
  whole: [258, 259],
  heads: [260],
  restMaxMs: 0
}
const rests: ScanRequest = { ...scan, restMaxMs: 250 }
const page: PageOfObjects = {
  epoch: 300,
  refused: [259],
  rows: [
    { key: utf8('other'), record: encodeRecord({ stamp, value }), isHead: false },
    { key: utf8('key'), record: recordHead(encodeRecord({ stamp, value })), isHead: true }
  ],
  last: utf8('key')
}
const entryAt = (at: number): Uint8Array => Uint8Array.of(...encodeIndexValue(at), ...utf8('key'))
const query: IndexRequest = {
  keyspace: utf8('ks'),
  name: 'byAge',
  fingerprint: Uint8Array.from({ length: 16 }, (_, i) => i),
  range: { from: encodeIndexValue(1), to: Uint8Array.of(0x30) },
  isReverse: true,
  rows: 1024,
  partitions: [258, 259]
}
const found: IndexPage = {
  epoch: 300,
  refused: [258],
  lacking: [259],
  rows: [entryAt(2), entryAt(-1)],
  last: entryAt(-1)
}
const log = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)
const ks = { keyspace: utf8('ks'), key: utf8('key') }
const other = { keyspace: utf8('ks'), key: utf8('other'), record: encodeRecord({ stamp, value }), expired: true }
const former = encodeRecord({ stamp, value }).slice(1, 16)
const filters = [{ isKey: true, keyspace: utf8('ks'), prefix: utf8('key') }]
const watch = { position: { log, seq: 299 }, wantsHorizons: true, waitMs: 5000, partitions: [1, 258], filters }
const watched = {
  log,
  seq: 302,
  expiredUntil: 1000,
  gaps: [1],
  strangers: [2],
  horizons: [[258, 300]] as const,
  arrivals: [
    { ...other, ...ks, seq: 300, partition: 258, expired: false, previous: former },
    { ...other, seq: 301, partition: 259, previous: undefined }
  ]
}
const rewind = { partition: 258, low: 300, expiredSince: 1000, after: ks, filters }
const rewound = {
  horizon: 300,
  reached: { keyspace: other.keyspace, key: other.key },
  records: [{ ...other, partition: 258 }]
}

const later = { hlc: stamp.hlc + 1, actor: 'fedcba9876543210' as Actor }
const seen = {
  base: { ...stamp, hlc: stamp.hlc - 9 },
  seen: new Map([
    [stamp.actor, stamp.hlc],
    [later.actor, later.hlc]
  ])
}
const id = 'aabbccddeeff0011'
const siblings: SiblingSet = {
  ...seen,
  siblings: [
    { dot: stamp, id, expiresAt: undefined, packed: true, value: packed },
    { dot: later, id: undefined, expiresAt, packed: false, value }
  ]
}
const mint = {
  partition: 258,
  ...ks,
  exempt: true,
  id,
  context: seen,
  value,
  packed: false,
  ttl: 300,
  brought: false,
  again: false
}
const nothingLeft = encodeSiblings({ base: undefined, seen: new Map([[stamp.actor, stamp.hlc]]), siblings: [] })
const mintReply = { kind: 'minted', existed: true, record: nothingLeft } as const

const bundles: Readonly<Record<string, Bundled>> = {
  watch: { bytes: () => encodeWatch(watch), decode: decodeWatch, content: watch },
  'watch-reply': { bytes: () => encodeWatchReply(watched), decode: decodeWatchReply, content: watched },
  rewind: { bytes: () => encodeRewind(rewind), decode: decodeRewind, content: rewind },
  'rewind-reply': {
    bytes: () => encodeRewindReply(rewound),
    decode: bytes => decodeRewindReply(bytes, 258),
    content: rewound
  },
  gets: { bytes: () => encodeGets(asked), decode: decodeGets, content: gets },
  'gets-reply': { bytes: () => encodeReadAnswers(reads), decode: bytes => decodeReadAnswers(bytes, 4), content: reads },
  puts: { bytes: () => encodePuts(puts, false), decode: decodePuts, content: puts },
  'puts-reply': {
    bytes: () => encodeWriteAnswers(writes),
    decode: bytes => decodeWriteAnswers(bytes, 6),
    content: writes
  },
  'puts-repair': {
    bytes: () => repairsBytes(),
    decode: decodePuts,
    content: repairs
  },
  'puts-unit': { bytes: () => encodePuts(unit, false), decode: decodePuts, content: unit },
  'puts-unit-reply': {
    bytes: () => encodeWriteAnswers(unitAnswer),
    decode: bytes => decodeWriteAnswers(bytes, 1),
    content: unitAnswer
  },
  scan: { bytes: () => encodeScan(scan), decode: decodeScan, content: scan },
  'scan-rests': { bytes: () => encodeScan(rests), decode: decodeScan, content: rests },
  'record-siblings': {
    bytes: () => encodeSiblings(siblings),
    decode: bytes => {
      assertRecord(bytes)
      return siblingsIn(bytes)
    },
    content: siblings
  },
  mint: { bytes: () => encodeMint(mint), decode: decodeMint, content: mint },
  'mint-reply': { bytes: () => encodeMintReply(mintReply), decode: decodeMintReply, content: mintReply },
  index: { bytes: () => encodeIndexRequest(query), decode: decodeIndexRequest, content: query },
  'index-reply': { bytes: () => encodeIndexPage(found), decode: decodeIndexPage, content: found },
  'scan-reply': { bytes: () => bytesOf(page), decode: pageOf, content: page }
}

const trees = ['hash-tree', 'hash-tree-digest', 'hash-tree-root']

describe('bytes of format 1', () => {
  let hash: Hash64
  before(async () => {
    hash = await loadHash64()
  })

  for (const [name, parts] of Object.entries(records)) {
    it(`are still written and read as they were: ${name}`, () => {
      const bytes = fixture(name)
      assert.equal(toHex(encodeRecord(parts)), toHex(bytes))
      assertRecord(bytes)
      assert.deepEqual(recordStamp(bytes), parts.stamp)
      assert.deepEqual(recordValue(bytes), parts.value)
      assert.equal(recordExpiresAt(bytes), parts.expiresAt)
      assert.equal(isPacked(bytes), parts.packed ?? false)
    })
  }

  it('are still unpacked to what they were', async () => {
    const value = await new Packing(systemClock, loadZstd).unpack(recordValue(fixture('record-packed'))!)
    assert.deepEqual(JSON.parse(fromUtf8(value)), Array(75).fill('value'))
  })

  for (const [name, messages] of Object.entries(frames)) {
    it(`are still written and read as they were: ${name}`, () => {
      const bytes = fixture(name)
      assert.equal(toHex(encodeFrame(messages)), toHex(bytes))
      assert.deepEqual(decodeFrame(bytes), messages)
    })
  }

  for (const [name, { bytes, decode, content }] of Object.entries(bundles)) {
    it(`are still written and read as they were: ${name}`, () => {
      assert.equal(toHex(bytes()), toHex(fixture(name)))
      assert.deepEqual(decode(fixture(name)), content)
    })
  }

  it('are still written and read as they were: hash tree, digest and root', () => {
    const digest = new RecordDigest()
    const of = (keyspace: string, key: string, record: string): RecordDigest => {
      digest.name(dataKey(258, utf8(keyspace), utf8(key)))
      digest.of(fixture(record))
      return digest
    }
    const { hi, lo } = of('ks', 'key', 'record-expiry')
    assert.equal(hex64(hi, lo), toHex(fixture('hash-tree-digest')))
    const tree = new HashTree()
    tree.add(0, of('', 'key', 'record-value'))
    tree.add(1023, of('ks', 'key', 'record-expiry'))
    tree.add(1023, of('ks', 'other', 'record-tombstone'))
    const bytes = tree.encode()
    const ends = fixture('hash-tree')
    assert.equal(toHex(bytes), toHex(ends.subarray(0, 12)) + '0'.repeat(1022 * 24) + toHex(ends.subarray(12)))
    const root = HashTree.decode(bytes).root()
    assert.equal(hex64(root.hi, root.lo), toHex(fixture('hash-tree-root')))
    assert.equal(root.count, 3)
  })

  it('put keys into the partitions into which they always did', () => {
    const places = ['', 'a', 'key', 'user:1', '{user:1}:cart', 'ä'].map(key => {
      return `${key} ${new Ring(256, hash).partitionOf(utf8(key))}`
    })
    assert.deepEqual(places, [' 239', 'a 210', 'key 68', 'user:1 217', '{user:1}:cart 217', 'ä 173'])
  })

  it('are all accounted for: there is no fixture that nobody reads', () => {
    const names = readdirSync(folder).filter(name => name.endsWith('.hex'))
    const known = [...[records, frames, bundles].flatMap(Object.keys), ...trees].map(name => `${name}.hex`)
    assert.deepEqual(names.sort(), known.sort())
  })
})

function hex64(hi: number, lo: number): string {
  return [hi, lo].map(half => half.toString(16).padStart(8, '0')).join('')
}
