import assert from 'node:assert/strict'
import { fromUtf8, utf8 } from '../../../src/base/bytes.ts'
import { KilovoltError } from '../../../src/base/errors.ts'
import { hlcFromMs } from '../../../src/model/hlc.ts'
import type { Causality } from '../../../src/model/causality.ts'
import { encodeSiblings, type RecordBytes } from '../../../src/model/record.ts'
import { siblingsOf } from '../../../src/model/sibling-set.ts'
import { decodeMint, encodeMint, encodeMintReply, type MintRequest } from '../../../src/replication/mint-wire.ts'
import { Minter } from '../../../src/replication/minter.ts'
import type { SiblingWriteOf } from '../../../src/replication/sibling-writes.ts'
import { type PlacementRules, SOUND_RULES } from '../../../src/placement/rules.ts'
import type { RecordStore } from '../../../src/storage/record-store.ts'
import { MessageType } from '../../../src/transport/message-type.ts'
import { actorOf, minted, valuesIn } from '../../support/siblings.ts'
import { store } from '../cluster/fixtures.ts'
import { type Asked, Bench, call, KEY, KEYSPACE, MOVED } from './bench.ts'

const write = (value: string | undefined, context?: RecordBytes): SiblingWriteOf => ({
  value: value === undefined ? undefined : utf8(value),
  context: context && siblingsOf(context)
})

function mint(
  bench: Bench,
  value: string,
  level: Parameters<typeof call>[0] = 'quorum',
  signal?: AbortSignal
): Promise<unknown> {
  const options = { ...call(level), ...(signal === undefined ? {} : { signal }) }
  const promise = bench.coordinator.mint(KEYSPACE, KEY, write(value), options)
  promise.catch(() => {})
  return promise
}

/** What it has come to, after everything has run that can. */
async function done<T>(bench: Bench, promise: Promise<T>): Promise<T> {
  assert.equal(await bench.state(promise), 'done')
  return promise
}

/** Answers as an owner does that had this before. */
function minting(asked: Asked, before?: RecordBytes): RecordBytes {
  assert.equal(asked.type, MessageType.MINT)
  const { value, id } = decodeMint(asked.body)
  const record = minted(before, 5000, fromUtf8(value!), { id })
  asked.end({
    kind: 'reply',
    epoch: 10,
    body: encodeMintReply({ kind: 'minted', existed: before !== undefined, record })
  })
  return record
}

describe('a write in a keyspace with siblings', () => {
  it('is minted here by an owner, upon what it holds, and given to the others as a repair', async () => {
    const held = minted(undefined, 500, 'held')
    const bench = new Bench({ held })
    const put = mint(bench, 'new')
    await bench.turn()
    assert.deepEqual(valuesIn(bench.local), ['held', 'new'])
    assert.deepEqual(bench.waiting, [2, 3])
    const request = bench.of(2)
    assert.ok(request.put!.repair)
    assert.deepEqual(valuesIn(request.put!.record), ['held', 'new'])
    assert.equal(await bench.state(put), 'pending')
    request.stored()
    assert.deepEqual(await done(bench, put), { existed: true })
    bench.of(3).end({ kind: 'lost' })
    await bench.turn()
    assert.deepEqual(
      bench.kept.map(([, record]) => valuesIn(record)),
      [['held', 'new']]
    )
    await bench.end()
  })

  it('is minted by one owner when this node is none, which counts without being asked again', async () => {
    const bench = new Bench({ self: 9 })
    const put = mint(bench, 'new')
    await bench.turn()
    assert.equal(bench.waiting.length, 1)
    const owner = bench.waiting[0]!
    const record = minting(bench.of(owner))
    await bench.turn()
    assert.deepEqual(
      bench.waiting,
      [1, 2, 3].filter(n => n !== owner)
    )
    const other = bench.of(bench.waiting[0]!)
    const last = bench.of(bench.waiting[0]!)
    assert.deepEqual(other.put!.record, record)
    other.stored()
    assert.deepEqual(await done(bench, put), { existed: false })
    last.stored()
    await bench.turn()
    await bench.end()
  })

  it('is done at one, and at any, when it is minted', async () => {
    for (const level of ['one', 'any'] as const) {
      const bench = new Bench({ self: 9 })
      const put = mint(bench, 'new', level)
      await bench.turn()
      minting(bench.of(bench.waiting[0]!))
      await done(bench, put)
      assert.equal(bench.waiting.length, 2)
      await bench.end()
    }
  })

  it('goes to another owner when one has certainly not minted it', async () => {
    const bench = new Bench({ self: 9 })
    const put = mint(bench, 'new', 'one')
    await bench.turn()
    bench.of(bench.waiting[0]!).end({ kind: 'unsent', reason: 'no link' })
    await bench.turn()
    bench.of(bench.waiting[0]!).end({ kind: 'refused', error: new KilovoltError('KV_READ_ONLY', 'full') })
    await bench.turn()
    minting(bench.of(bench.waiting[0]!))
    await done(bench, put)
    await bench.end()
  })

  it('goes to nobody else when it may have been minted, and says so when that cannot be known', async () => {
    const bench = new Bench({ self: 9 })
    const put = mint(bench, 'new', 'one')
    await bench.turn()
    const owner = bench.waiting[0]!
    const first = bench.of(owner)
    first.end({ kind: 'lost' })
    await bench.world.advance(60)
    assert.deepEqual(bench.waiting, [owner])
    const again = bench.of(owner)
    assert.equal(decodeMint(again.body).id, decodeMint(first.body).id)
    assert.deepEqual([decodeMint(first.body).again, decodeMint(again.body).again], [false, true])
    again.end({ kind: 'unsent', reason: 'no link' })
    await bench.world.advance(60)
    minting(bench.of(owner))
    await done(bench, put)
    const unknown = mint(bench, 'other', 'one')
    await bench.turn()
    const request = bench.asked.find(({ type }) => type === MessageType.MINT)!
    request.end({ kind: 'lost' })
    for (const n of [1, 2, 3]) bench.dead.add(store(n))
    await bench.world.advance(60)
    const { code, outcome } = await bench.failure(unknown)
    assert.deepEqual([code, outcome], ['KV_QUORUM_NOT_REACHED', 'unknown'])
    await bench.end()
  })

  it('is unknown when who may have minted it does not remember, or cannot be asked for half a minute', async () => {
    const bench = new Bench({ self: 9 })
    const forgotten = mint(bench, 'new', 'one')
    await bench.turn()
    bench.of(bench.waiting[0]!).end({ kind: 'lost' })
    await bench.world.advance(60)
    bench.of(bench.waiting[0]!).end({ kind: 'refused', error: new KilovoltError('KV_STORAGE', 'not remembered') })
    const { code, outcome } = await bench.failure(forgotten)
    assert.deepEqual([code, outcome, bench.waiting], ['KV_QUORUM_NOT_REACHED', 'unknown', []])

    const options = { ...call('one'), timeoutMs: 120_000 }
    const patient = bench.coordinator.mint(KEYSPACE, KEY, write('other'), options)
    patient.catch(() => {})
    await bench.turn()
    bench.of(bench.waiting[0]!).end({ kind: 'lost' })
    const startMs = bench.world.nowMs
    while (bench.world.nowMs < startMs + 31_000) {
      await bench.world.advance(60)
      if (bench.waiting.length > 0) bench.of(bench.waiting[0]!).end({ kind: 'unsent', reason: 'no link' })
    }
    const late = await bench.failure(patient)
    assert.deepEqual([late.code, late.outcome, bench.waiting], ['KV_QUORUM_NOT_REACHED', 'unknown', []])
    await bench.end()
  })

  it('is refused when no owner can be asked, at any as well', async () => {
    const bench = new Bench({ self: 9 })
    for (const n of [1, 2, 3]) bench.dead.add(store(n))
    const { code, outcome, answers } = await bench.failure(mint(bench, 'new', 'any'))
    assert.deepEqual([code, outcome, answers], ['KV_QUORUM_NOT_REACHED', 'not-executed', ['down', 'down', 'down']])
    assert.deepEqual(bench.kept, [])
    await bench.end()
  })

  it('is minted by nobody when too few owners live, or are, for its level', async () => {
    for (const level of ['quorum', 'all', 2, 9] as const) {
      const bench = new Bench()
      for (const n of [2, 3]) if (level !== 9) bench.dead.add(store(n))
      const { code, outcome } = await bench.failure(mint(bench, 'new', level))
      assert.deepEqual([code, outcome], ['KV_QUORUM_NOT_REACHED', 'not-executed'])
      assert.equal(bench.held.size, 0)
      await bench.end()
    }
  })

  it('fails at once with what every owner would say', async () => {
    const bench = new Bench({ self: 9 })
    const put = mint(bench, 'new')
    await bench.turn()
    bench.of(bench.waiting[0]!).end({ kind: 'refused', error: new KilovoltError('KV_TOO_MANY_SIBLINGS', 'many') })
    await bench.turn()
    await assert.rejects(put, { code: 'KV_TOO_MANY_SIBLINGS' })
    assert.deepEqual(bench.waiting, [])
    await bench.end()
  })

  it('ends with its deadline, its signal and its node', async () => {
    const bench = new Bench({ self: 9 })
    const late = mint(bench, 'a')
    await bench.world.advance(1100)
    await assert.rejects(late, { code: 'KV_TIMEOUT' })
    const abort = new AbortController()
    const aborted = mint(bench, 'b', 'quorum', abort.signal)
    await bench.turn()
    abort.abort()
    await bench.turn()
    await assert.rejects(aborted, { code: 'KV_ABORTED' })
    const stopped = mint(bench, 'c')
    await bench.turn()
    await bench.end()
    await assert.rejects(stopped, { code: 'KV_NODE_STOPPED' })
  })

  it('follows owners that have changed', async () => {
    const bench = new Bench({ self: 9 })
    bench.next = MOVED
    const put = mint(bench, 'new', 'one')
    await bench.turn()
    const body = encodeMintReply({ kind: 'fenced', epoch: 12 })
    bench.of(bench.waiting[0]!).end({ kind: 'reply', epoch: 12, body })
    await bench.turn()
    assert.deepEqual(bench.caughtUp, [12])
    assert.ok([3, 4, 5].includes(bench.waiting[0]!))
    minting(bench.of(bench.waiting[0]!))
    await done(bench, put)
    await bench.end()
  })
})

describe('a minter', () => {
  const request = (value: string | undefined, more: Partial<MintRequest> = {}): MintRequest => ({
    partition: 0,
    keyspace: KEYSPACE,
    key: KEY,
    exempt: true,
    id: actorOf(77),
    context: undefined,
    value: value === undefined ? undefined : utf8(value),
    packed: false,
    ttl: undefined,
    brought: false,
    again: false,
    ...more
  })

  /** What comes of a request, or the code of an error. */
  function ask(minter: Minter, one: MintRequest): string[] | string {
    let answer: string[] | string = 'nothing'
    minter.mint(one, 10, (error, reply) => {
      answer = error?.code ?? (reply?.kind === 'minted' ? valuesIn(reply.record) : 'fenced')
    })
    return answer
  }

  function minterOf(
    bench: Bench,
    rules: Partial<PlacementRules> = {},
    floor = 0,
    forgotten = { forgotten: 0 },
    isNew = true
  ): Minter {
    const records = {
      mint: (...[, , make, done]: Parameters<RecordStore['mint']>): void => {
        const made = make(bench.local)
        if (made instanceof Error) return done(made, undefined)
        const current = bench.local
        bench.local = made
        done(undefined, { outcome: 'applied', current, stored: made })
      },
      get forgotten() {
        return forgotten.forgotten
      }
    }
    return new Minter(
      {
        replica: bench.replica,
        records: records as never,
        horizons: { floorOf: () => floor, horizonOf: () => 0 },
        stamps: {
          last: 0,
          next: (after = 0) => ({ hlc: (stamped = Math.max(stamped, after) + 1), actor: actorOf(5) }),
          observe: hlc => void (stamped = Math.max(stamped, hlc))
        },
        clock: bench.clock,
        rules: { ...SOUND_RULES, ...rules },
        isOver: () => false
      },
      10_000,
      isNew
    )
  }
  let stamped = 1000

  it('mints a write once, also when another has taken its place meanwhile', () => {
    const bench = new Bench()
    const minter = minterOf(bench)
    assert.deepEqual(ask(minter, request('a')), ['a'])
    assert.deepEqual(ask(minter, request('a')), ['a'])
    const context = siblingsOf(bench.local!)
    assert.deepEqual(ask(minter, request('b', { id: actorOf(78), context })), ['b'])
    assert.deepEqual(ask(minter, request('a')), ['b'])
    // After a restart it is known by what is stored.
    assert.deepEqual(ask(minterOf(bench), request('b', { id: actorOf(78) })), ['b'])
    assert.deepEqual(ask(minterOf(bench, { mintOnce: false }), request('b', { id: actorOf(78) })), ['b', 'b'])
  })

  it('mints nothing that it is asked for again and may have minted in an earlier life', async () => {
    const bench = new Bench()
    const restarted = (): Minter => minterOf(bench, {}, 0, undefined, false)
    ask(minterOf(bench), request('a'))
    assert.deepEqual(ask(restarted(), request('a', { again: true })), ['a'])
    const context = siblingsOf(bench.local!)
    ask(minterOf(bench), request('b', { id: actorOf(78), context }))
    const minter = restarted()
    assert.equal(ask(minter, request('a', { again: true })), 'KV_STORAGE')
    assert.deepEqual(valuesIn(bench.local), ['b'])
    assert.deepEqual(ask(minter, request('c', { id: actorOf(79) })), ['b', 'c'])
    // Whoever asks again after a minute has first asked this life of it.
    await bench.world.advance(60_001)
    assert.deepEqual(ask(minter, request('d', { id: actorOf(80), again: true })), ['b', 'c', 'd'])
  })

  it('mints nothing that it is asked for again when it holds nothing of it any more, or has minted too much since', () => {
    const bench = new Bench()
    const minter = minterOf(bench)
    assert.deepEqual(ask(minter, request('a', { again: true })), ['a'])
    Object.assign(bench, { local: undefined })
    assert.equal(ask(minter, request('a', { again: true })), 'KV_STORAGE')
    let context
    for (let i = 0; i < 4096; i++) {
      ask(minter, request(undefined, { id: actorOf(1000 + i), context }))
      context = siblingsOf(bench.local!)
    }
    assert.equal(ask(minter, request('a', { again: true })), 'KV_STORAGE')
    assert.deepEqual(ask(minter, request('b', { id: actorOf(78) })), ['b'])
  })

  it('mints above all that it holds, that was seen, and that is settled', () => {
    const bench = new Bench({ held: minted(undefined, 9_000_000, 'held', { actor: 3 }) })
    ask(minterOf(bench, {}, 9_500_000), request('a'))
    const dots = siblingsOf(bench.local!).siblings.map(({ dot }) => dot.hlc)
    assert.ok(dots[1]! > 9_500_000)
    stamped = 1000
    ask(minterOf(bench), request('b', { id: actorOf(79) }))
    assert.equal(siblingsOf(bench.local!).siblings.at(-1)!.dot.hlc, dots[1]! + 1)
  })

  it('takes another name when it may have forgotten what it has minted', () => {
    const bench = new Bench()
    const forgotten = { forgotten: 0 }
    const minter = minterOf(bench, {}, 0, forgotten)
    const nameOf = (number: number): string => {
      ask(minter, request('x', { id: actorOf(number) }))
      return siblingsOf(bench.local!).siblings.at(-1)!.dot.actor
    }
    const first = nameOf(1)
    assert.equal(nameOf(2), first)
    forgotten.forgotten++
    assert.notEqual(nameOf(3), first)
    assert.notEqual(first, actorOf(5))
    const fixed = minterOf(bench, { renameMint: false })
    ask(fixed, request('x', { id: actorOf(4) }))
    assert.equal(siblingsOf(bench.local!).siblings.at(-1)!.dot.actor, actorOf(5))
  })

  it('refuses what was seen in the future, unless it holds that itself or it was brought along', () => {
    const bench = new Bench()
    const hlc = hlcFromMs(bench.clock.wallMs() + 60_000)
    const context = { base: undefined, seen: new Map([[actorOf(3), hlc]]) }
    assert.equal(ask(minterOf(bench), request('a', { context })), 'KV_CLOCK_DRIFT')
    assert.deepEqual(ask(minterOf(bench), request('a', { context, brought: true })), ['a'])
    bench.local = minted(undefined, hlc, 'poisoned', { actor: 3 })
    assert.deepEqual(ask(minterOf(bench), request('a', { context })), ['a'])
  })

  it('mints nothing that nobody could read, where there is no later time', () => {
    const bench = new Bench({ held: minted(undefined, Number.MAX_SAFE_INTEGER, 'last', { actor: 3 }) })
    const context = { base: undefined, seen: new Map([[actorOf(3), Number.MAX_SAFE_INTEGER]]) }
    assert.equal(ask(minterOf(bench), request('a')), 'KV_CLOCK_DRIFT')
    assert.equal(ask(minterOf(bench), request('a', { context, brought: true })), 'KV_CLOCK_DRIFT')
    assert.deepEqual(valuesIn(bench.local), ['last'])
    assert.throws(() => decodeMint(encodeMint(request('a', { ttl: Number.MAX_SAFE_INTEGER }))), { code: 'KV_PROTOCOL' })
  })

  it('refuses to name more owners than there may be, unless it names no more than before', () => {
    const bench = new Bench()
    const named = (count: number): Causality => ({
      base: undefined,
      seen: new Map(Array.from({ length: count }, (_, i) => [actorOf(1000 + i), 100 + i]))
    })
    assert.equal(ask(minterOf(bench), request('a', { context: named(4096) })), 'KV_TOO_MANY_SIBLINGS')
    assert.deepEqual(ask(minterOf(bench), request('a', { context: named(4095) })), ['a'])
    // By a name of this life; another one would be one more.
    assert.equal(ask(minterOf(bench), request('b', { id: actorOf(78) })), 'KV_TOO_MANY_SIBLINGS')
    // What came together of what several have minted is read, and can be replaced by one that it names.
    bench.local = encodeSiblings({ ...named(5000), siblings: [] })
    assert.equal(siblingsOf(bench.local).seen.size, 5000)
    stamped = 100_000
    const known = minterOf(bench, { renameMint: false })
    assert.equal(ask(known, request('c', { id: actorOf(79) })), 'KV_TOO_MANY_SIBLINGS')
    bench.local = encodeSiblings({
      base: undefined,
      seen: new Map([...named(5000).seen, [actorOf(5), 7]]),
      siblings: []
    })
    assert.deepEqual(ask(known, request('c', { id: actorOf(79) })), ['c'])
  })

  it('counts no siblings that have expired for everybody', () => {
    const bench = new Bench()
    let held: RecordBytes | undefined
    for (let i = 0; i < 64; i++) held = minted(held, 100 + i, `v${i}`, { expiresAt: 1 })
    bench.local = held!
    assert.deepEqual(ask(minterOf(bench), request('a')), ['a'])
  })

  it('refuses a packed value that is none', () => {
    assert.equal(ask(minterOf(new Bench()), request('x', { packed: true })), 'KV_CORRUPT')
  })
})
