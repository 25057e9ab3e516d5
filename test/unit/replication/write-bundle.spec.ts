import assert from 'node:assert/strict'
import { KilovoltError } from '../../../src/base/errors.ts'
import type { Requirement } from '../../../src/model/quorum.ts'
import { recordHlc } from '../../../src/model/record.ts'
import type { WriteAnswer } from '../../../src/replication/bundle-wire.ts'
import { store, storeNumber } from '../cluster/fixtures.ts'
import { Bench, MOVED, MOVING, record, text } from './bench.ts'

const [A, B] = [Uint8Array.of(1), Uint8Array.of(2)]
const STORED: WriteAnswer = { kind: 'stored', existed: false }
const OVER: WriteAnswer = { kind: 'stored', existed: true }
/** Its database has failed. */
const FAILED: WriteAnswer = { kind: 'failed' }

/** Whether there was a value. It may be looked at later: a rejection is not taken for forgotten. */
function existed(write: Promise<{ readonly existed: boolean }>): Promise<boolean> {
  const result = write.then(done => done.existed)
  result.catch(() => {})
  return result
}

describe('writes that go together', () => {
  let bench: Bench

  beforeEach(() => {
    bench = new Bench()
  })

  afterEach(() => bench.end())

  /** Begins writes of these keys that go together, and lets them go. */
  async function write(requirement: Requirement, ...keys: readonly Uint8Array[]): Promise<Promise<boolean>[]> {
    bench.begin()
    const puts = keys.map((key, i) => existed(bench.put(requirement, `new ${i}`, {}, key)))
    await bench.turn()
    return puts
  }

  /** For whom something is kept, and what. */
  function kept(): (readonly [number, string | undefined])[] {
    return bench.kept.map(([target, bytes]) => [storeNumber(target), text(bytes)])
  }

  it('end with the second of three acknowledgements, and say where there was a value', async () => {
    bench.held.set('02', record(5))
    const puts = await write('quorum', A, B)
    assert.deepEqual([text(bench.held.get('01')), text(bench.held.get('02'))], ['new 0', 'new 1'])
    assert.deepEqual(bench.waiting, [2, 3])
    const two = bench.of(2)
    assert.deepEqual(
      two.puts?.map(({ record: bytes, exempt, repair }) => [text(bytes), exempt, repair]),
      [
        ['new 0', false, false],
        ['new 1', false, false]
      ]
    )
    assert.deepEqual(await bench.outcomes(puts), ['pending', 'pending'])
    two.puts$(STORED, STORED)
    assert.deepEqual(await bench.outcomes(puts), [false, true])
    const others = await write('quorum', A)
    bench.asked.find(({ to, puts: sent }) => to === 3 && sent?.length === 1)!.puts$(OVER)
    assert.deepEqual(await bench.outcomes(others), [true])
  })

  it('are encoded once for all who are asked for the same', async () => {
    for (const requirement of ['quorum', 'one', 'all'] as const) {
      bench.asked.length = 0
      void (await write(requirement, A, B))
      const [two, three] = [bench.of(2), bench.of(3)]
      assert.equal(two.puts?.length, 2)
      assert.equal(two.body, three.body, requirement)
      const first = two.body
      void (await write(requirement, A, B))
      assert.notEqual(bench.of(2).body, first, 'others are encoded anew')
    }
  })

  it('go to everybody, though one copy is enough and this node has it already', async () => {
    bench.storesAtOnce = true
    for (const requirement of ['one', 1] as const) {
      bench.asked.length = 0
      const puts = await write(requirement, A, B)
      assert.ok(!(await bench.outcomes(puts)).includes('pending'))
      const keys = [bench.of(2), bench.of(3)].map(asked => asked.puts?.map(({ key }) => key))
      assert.deepEqual(keys, [
        [A, B],
        [A, B]
      ])
    }
  })

  it('need as many acknowledgements as their level says', async () => {
    for (const [requirement, needed] of [
      ['one', 0],
      ['all', 2],
      [1, 0],
      [2, 1],
      [3, 2]
    ] as const) {
      bench.asked.length = 0
      const puts = await write(requirement, A, B)
      assert.equal(bench.asked[0]?.puts?.[0]?.exempt, requirement === 'one')
      for (let i = 0; i < needed; i++) {
        assert.deepEqual(await bench.outcomes(puts), ['pending', 'pending'], `${requirement} after ${i}`)
        bench.of(2 + i).puts$(STORED, STORED)
      }
      assert.ok(!(await bench.outcomes(puts)).includes('pending'), String(requirement))
    }
    const four = await write(4, A)
    assert.deepEqual(await bench.outcomes(four), ['KV_QUORUM_NOT_REACHED'])
  })

  it('are stamped anew, later than what they met, and go on by themselves', async () => {
    for (const existed of [true, false]) {
      bench = new Bench()
      const puts = await write('quorum', A, B)
      bench.of(2).puts$({ kind: 'behind', hlc: 1e9, existed }, STORED)
      assert.deepEqual(await bench.outcomes(puts), ['pending', false])
      const again = bench.of(2)
      assert.ok(recordHlc(again.put!.record) > 1e9)
      assert.equal(text(again.put!.record), 'new 0')
      again.stored()
      assert.notDeepEqual(await bench.outcomes(puts), ['pending', false])
      assert.ok(recordHlc(bench.local!) > 1e9)
      assert.equal(bench.coordinator.stats().restamped, 1)
      // Who fails to answer to the first stamp may yet take the second.
      bench.of(3).end({ kind: 'lost' })
      await bench.turn()
      assert.deepEqual(kept(), [[3, 'new 1']])
      await bench.end()
    }
  })

  it('at one take a newer record for an acknowledgement, but not a past that is settled', async () => {
    bench = new Bench({ self: 9 })
    const puts = await write('one', A, B)
    bench.of(1).puts$({ kind: 'behind', hlc: 1e9, existed: true }, { kind: 'behind', hlc: 1e9, existed: false })
    assert.deepEqual(await bench.outcomes(puts), [true, 'pending'])
    bench.asked.find(({ put }) => put !== undefined)!.stored()
    assert.deepEqual(await bench.outcomes(puts), [true, false])
  })

  it('say of a deletion that goes on by itself what its first attempt has met', async () => {
    bench.held.set('01', record(5))
    bench.begin()
    const deletion = existed(bench.delete('quorum', A))
    await bench.turn()
    bench.of(2).puts$({ kind: 'behind', hlc: 1e9, existed: false })
    await bench.turn()
    bench.of(2).stored()
    assert.deepEqual(await bench.outcomes([deletion]), [true], 'its own tombstone is not what was there')
  })

  it('go on as what they are when nobody wants another stamp: who has them takes them for that', async () => {
    const [put] = await write('quorum', A)
    const first = bench.local!
    bench.of(2).end({ kind: 'lost' })
    bench.of(3).end({ kind: 'lost' })
    await bench.turn()
    assert.deepEqual(bench.waiting, [2, 3])
    assert.equal(recordHlc(bench.of(2).put!.record), recordHlc(first))
    bench.of(3).stored()
    await bench.turn()
    await put
    assert.deepEqual([bench.local, bench.coordinator.stats().restamped], [first, 0])
  })

  it('go by themselves while their row changes', async () => {
    bench = new Bench({ row: MOVING })
    const promises = await write('quorum', A, B)
    assert.deepEqual(bench.waiting, [2, 2, 3, 3, 4, 4])
    assert.deepEqual(await bench.outcomes(promises), ['pending', 'pending'])
    assert.ok(bench.asked.every(({ put }) => put !== undefined))
  })

  it('go by the new owners when the row has changed', async () => {
    bench = new Bench({ self: 9 })
    bench.next = MOVED
    const puts = await write('quorum', A)
    for (const to of [1, 2]) bench.of(to).puts$({ kind: 'fenced' })
    await bench.turn()
    bench.of(1).put$({ kind: 'fenced', epoch: 12 })
    await bench.turn()
    assert.deepEqual(bench.caughtUp, [12])
    for (const to of [4, 5]) bench.of(to).stored()
    assert.deepEqual(await bench.outcomes(puts), [false])
  })

  describe('keep hints', () => {
    const lost = { kind: 'lost' } as const
    const unsent = { kind: 'unsent', reason: 'no link' } as const
    const malformed = { kind: 'reply', epoch: 10, body: Uint8Array.of(3) } as const

    it('for those who were dead, or failed, before they were acknowledged', async () => {
      for (const end of ['dead', lost, unsent, malformed] as const) {
        bench = new Bench()
        if (end === 'dead') bench.dead.add(store(2))
        const puts = await write('quorum', A, B)
        if (end !== 'dead') bench.of(2).end(end)
        await bench.turn()
        assert.deepEqual(kept(), [], 'nothing is acknowledged yet')
        bench.of(3).puts$(STORED, STORED)
        assert.deepEqual(await bench.outcomes(puts), [false, false])
        assert.deepEqual(kept(), [
          [2, 'new 0'],
          [2, 'new 1']
        ])
        await bench.end()
      }
    })

    it('for those who could not store one of them, or turned it away, before it was acknowledged', async () => {
      const puts = await write('quorum', A, B)
      bench.of(2).puts$(FAILED, { kind: 'fenced' })
      await bench.turn()
      bench.of(3).puts$(STORED, STORED)
      assert.deepEqual(await bench.outcomes(puts), [false, false])
      assert.deepEqual(kept(), [
        [2, 'new 0'],
        [2, 'new 1']
      ])
    })

    it('for those who fail later', async () => {
      for (const end of [lost, unsent, malformed]) {
        bench = new Bench()
        const puts = await write('quorum', A, B)
        bench.of(2).puts$(STORED, STORED)
        await bench.outcomes(puts)
        assert.deepEqual(kept(), [])
        bench.of(3).end(end)
        await bench.turn()
        assert.deepEqual(kept(), [
          [3, 'new 0'],
          [3, 'new 1']
        ])
        await bench.end()
      }
      bench = new Bench()
      const puts = await write('quorum', A, B)
      bench.of(2).puts$(STORED, STORED)
      await bench.outcomes(puts)
      bench.of(3).puts$(STORED, FAILED)
      await bench.turn()
      assert.deepEqual(kept(), [[3, 'new 1']])
    })

    it('for this node, when its own database fails', async () => {
      bench.writeFails = new KilovoltError('KV_READ_ONLY', 'full')
      const puts = await write('quorum', A)
      for (const to of [2, 3]) bench.of(to).puts$(STORED)
      assert.deepEqual(await bench.outcomes(puts), [false])
      assert.deepEqual(kept(), [[1, 'new 0']])
    })

    it('for nobody when all goes well, and when a late one has something newer', async () => {
      const puts = await write('quorum', A, B)
      bench.of(2).puts$(STORED, STORED)
      await bench.outcomes(puts)
      bench.of(3).puts$(STORED, { kind: 'behind', hlc: 1e9, existed: true })
      await bench.turn()
      assert.deepEqual([kept(), bench.waiting], [[], []])
    })

    it('for nobody when they were never acknowledged', async () => {
      bench.begin()
      const put = bench.put('all', 'new', { timeoutMs: 100 }, A)
      await bench.turn()
      bench.of(2).puts$(STORED)
      await bench.world.advance(120)
      await assert.rejects(put, { code: 'KV_TIMEOUT' })
      bench.of(3).end({ kind: 'timeout' })
      await bench.turn()
      assert.deepEqual(kept(), [])
    })
  })

  describe('that fail', () => {
    it('are not executed when nobody can have them, whatever was tried before they went on alone', async () => {
      const ends = [
        (): void => bench.of(1).end({ kind: 'refused', error: new KilovoltError('KV_OVERLOADED', 'busy') }),
        (): void => bench.of(1).end({ kind: 'unsent', reason: 'no link' }),
        (): void => bench.of(1).puts$({ kind: 'refused' }),
        (): void => bench.of(1).puts$({ kind: 'fenced' })
      ]
      for (const end of ends) {
        bench = new Bench({ self: 9, slots: [1, 2], replicas: 2 })
        bench.dead.add(store(2))
        const [put] = await write(1, A)
        bench.dead.add(store(1))
        end()
        assert.deepEqual(await bench.failure(put!), {
          code: 'KV_QUORUM_NOT_REACHED',
          answers: ['down', 'down'],
          outcome: 'not-executed'
        })
        await bench.end()
      }
    })

    it('of dead replicas are not executed', async () => {
      bench = new Bench({ self: 9 })
      for (const n of [1, 2]) bench.dead.add(store(n))
      const puts = await write('quorum', A, B)
      assert.deepEqual(bench.waiting, [], 'nobody was asked')
      for (const put of puts) {
        assert.deepEqual(await bench.failure(put), {
          code: 'KV_QUORUM_NOT_REACHED',
          answers: ['down', 'down', 'unasked'],
          outcome: 'not-executed'
        })
      }
    })

    it('may have happened when some replica may have them, also by what came before they went on alone', async () => {
      for (const end of [{ kind: 'lost' }, { kind: 'timeout' }, FAILED] as const) {
        bench = new Bench({ self: 9 })
        const [put] = await write('quorum', A)
        if (end.kind === 'failed') bench.of(1).puts$(end)
        else bench.of(1).end(end)
        await bench.turn()
        for (const n of [1, 2, 3]) bench.dead.add(store(n))
        bench.of(2).end({ kind: 'unsent', reason: 'no link' })
        assert.deepEqual(await bench.failure(put!), {
          code: 'KV_QUORUM_NOT_REACHED',
          answers: ['down', 'down', 'unasked'],
          outcome: 'unknown'
        })
        await bench.end()
      }
    })

    it('say which replicas have answered when they take too long', async () => {
      bench.begin()
      const put = bench.put(2, 'new', { timeoutMs: 300 }, A)
      await bench.turn()
      bench.of(2).puts$(FAILED)
      await bench.world.advance(290)
      assert.deepEqual(await bench.outcomes([put]), ['pending'])
      await bench.world.advance(20)
      assert.deepEqual(await bench.failure(put), {
        code: 'KV_TIMEOUT',
        answers: ['ok', 'failed', 'pending'],
        outcome: 'unknown'
      })
      await assert.rejects(put, { retryable: false, message: /300 ms.*may be stored/u })
    })
  })
})
