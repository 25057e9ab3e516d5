import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import { ClassicLevel } from 'classic-level'
import { PnCounter, type PnCounts, resolvers } from '../../src/index.ts'
import { NodeLab } from '../support/node-lab.ts'

const lab = new NodeLab()

afterEach(() => lab.clear())

describe('siblings over several nodes', () => {
  it('are minted by owners for all of them, replaced by who has seen them, and there again after a restart from disk', async () => {
    const folder = lab.folder()
    const first = await lab.start({ storage: new ClassicLevel(folder) })
    const nodes = [first]
    // More nodes than copies: of each key some own nothing.
    for (let i = 0; i < 4; i++) nodes.push(await lab.start({ bootstrap: first.addresses }))
    await first.settled()
    const options = { conflicts: 'siblings', valueEncoding: 'structured', compression: 'zstd' } as const
    const keyspaces = nodes.map(node => node.keyspace('k', options))
    const keys = Array.from({ length: 6 }, (_, i) => `key ${i}`)
    // Of all kinds: small, structured, large enough to be packed.
    const values: readonly unknown[] = [
      'text',
      { at: new Date(5) },
      new Map([['text', 'kilovolt '.repeat(500)]]),
      7n,
      [1, 2]
    ]
    await Promise.all(keys.flatMap(key => keyspaces.map((keyspace, i) => keyspace.put(key, values[i]))))
    for (const key of keys) {
      const entry = await keyspaces[3]!.getEntry(key)
      assert.equal(entry!.siblings!.length, 5)
      for (const value of values) assert.ok(entry!.siblings!.some(sibling => isSame(sibling, value)))
      await keyspaces[4]!.put(key, key, { context: entry!.context! })
    }
    assert.deepEqual(await keyspaces[1]!.getMany(keys), keys)
    await keyspaces[2]!.put('key 0', 'beside')
    await first.stop()
    const again = await lab.start({ storage: new ClassicLevel(folder), bootstrap: nodes[1]!.addresses })
    await again.settled()
    const restarted = again.keyspace('k', options)
    assert.deepEqual((await restarted.getEntry('key 0'))!.siblings, ['key 0', 'beside'])
    assert.deepEqual((await restarted.entries().all()).length, 6)
    assert.equal(await restarted.delete('key 1'), true)
    assert.equal(await keyspaces[2]!.get('key 1'), undefined)
  }).timeout(90_000)

  it('come to the true sum, and to what a resolver makes of them, whoever writes at the same time', async () => {
    const first = await lab.start()
    const nodes = [
      first,
      await lab.start({ bootstrap: first.addresses }),
      await lab.start({ bootstrap: first.addresses })
    ]
    await first.settled()
    const counters = nodes.map(
      node => new PnCounter(node.keyspace<PnCounts>('likes', { conflicts: resolvers.pnCounter }), 'post')
    )
    await Promise.all(
      counters.flatMap(counter => Array.from({ length: 30 }, (_, i) => counter.add(i % 3 === 0 ? -1 : 2)))
    )
    for (const counter of counters) assert.equal(await counter.value(), 90)
    const tags = nodes.map(node => node.keyspace<string[]>('tags', { conflicts: resolvers.union }))
    await Promise.all(
      tags.flatMap((keyspace, i) => Array.from({ length: 40 }, (_, n) => keyspace.put('all', [`${i} ${n}`])))
    )
    assert.equal((await tags[0]!.get('all'))!.length, 120)
    // What was made of them is written back: one is left.
    const plain = first.keyspace<string[]>('tags', { conflicts: 'siblings' })
    for (let left = 100; (await plain.getEntry('all'))!.siblings!.length > 1; left--) {
      assert.ok(left > 0, 'it is written back')
      await tags[1]!.get('all')
      await pause(50)
    }
  }).timeout(90_000)
})

function isSame(a: unknown, b: unknown): boolean {
  try {
    assert.deepEqual(a, b)
    return true
  } catch {
    return false
  }
}
