import assert from 'node:assert/strict'
import { encodeRecord, encodeSiblings, hasSiblings, type RecordBytes } from '../../../src/model/record.ts'
import { utf8 } from '../../../src/base/bytes.ts'
import { prunedSet, siblingsOf } from '../../../src/model/sibling-set.ts'
import { actorOf, minted, valuesIn } from '../../support/siblings.ts'
import { Bench, KEY, KEYSPACE } from './bench.ts'

const PLACE = { partition: 0, keyspace: KEYSPACE, key: KEY }

/** Brings a record, while the other owners hold nothing and take everything. */
async function bring(bench: Bench, record: RecordBytes): Promise<void> {
  const brought = bench.coordinator.bring(PLACE, record)
  for (let left = 50; (await bench.state(brought)) === 'pending'; left--) {
    assert.ok(left > 0, 'it ends')
    for (const n of bench.waiting) {
      const asked = bench.of(n)
      if (asked.get === undefined) asked.stored()
      else asked.get$({ kind: 'none', horizon: 0 })
    }
  }
  await brought
}

describe('siblings of another cluster', () => {
  const both = minted(minted(undefined, 5, 'a', { actor: 7 }), 6, 'b', { actor: 7 })

  it('become siblings here, under dots of owners here, once', async () => {
    const bench = new Bench()
    await bring(bench, both)
    assert.deepEqual(valuesIn(bench.local), ['a', 'b'])
    assert.ok(siblingsOf(bench.local!).siblings.every(({ dot }) => dot.hlc > 6 && dot.actor !== actorOf(7)))
    const before = bench.local!
    await bring(bench, both)
    assert.equal(bench.local, before)
    // Another member of that cluster has missed the second of them.
    await bring(bench, minted(undefined, 5, 'a', { actor: 7 }))
    assert.equal(bench.local, before)
  })

  it('stand beside what is here, which their base says nothing of', async () => {
    const bench = new Bench({ held: minted(undefined, 3, 'here') })
    const pruned = encodeSiblings(prunedSet(siblingsOf(both), 6))
    await bring(bench, pruned)
    assert.deepEqual(valuesIn(bench.local), ['here', 'a', 'b'])
  })

  it('are not brought back when they were replaced here after somebody had brought them', async () => {
    const bench = new Bench()
    await bring(bench, both)
    bench.local = minted(bench.local, 9_000_000_000, 'merged', { context: siblingsOf(bench.local!) })
    await bring(bench, both)
    assert.deepEqual(valuesIn(bench.local), ['merged'])
  })

  it('take what they had replaced there along', async () => {
    const bench = new Bench({ held: minted(undefined, 4, 'old', { actor: 7 }) })
    await bring(
      bench,
      minted(minted(undefined, 4, 'old', { actor: 7 }), 5, undefined, {
        context: siblingsOf(minted(undefined, 4, 'old', { actor: 7 }))
      })
    )
    assert.deepEqual(valuesIn(bench.local), [])
  })

  it('stand beside a value without siblings, here or there', async () => {
    const plain = encodeRecord({ stamp: { hlc: 9, actor: actorOf(9) }, value: utf8('plain') })
    const there = new Bench({ held: minted(undefined, 12, 'here') })
    await bring(there, plain)
    assert.deepEqual(valuesIn(there.local), ['here', 'plain'])
    const here = new Bench({ held: plain })
    await bring(here, both)
    assert.deepEqual(valuesIn(here.local), ['plain', 'a', 'b'])
    assert.ok(hasSiblings(here.local!))
  })
})
