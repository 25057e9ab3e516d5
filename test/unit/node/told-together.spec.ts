import assert from 'node:assert/strict'
import { ToldTogether } from '../../../src/node/told-together.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'

function telling() {
  const world = new SimWorld()
  const clock = world.clock('n')
  const told: [count: number, first: string][] = []
  const together = new ToldTogether<string>(clock, (count, first) => told.push([count, first]))
  return { world, clock, told, together }
}

describe('what happens many times a second', () => {
  it('is told once a second, with how often it happened and its first example', async () => {
    const { world, told, together } = telling()
    together.add(2, 'a')
    await world.advance(999)
    together.add(3, 'b')
    assert.deepEqual(told, [])
    await world.advance(1)
    assert.deepEqual(told, [[5, 'a']])
    together.add(1, 'c')
    await world.advance(1000)
    assert.deepEqual(told.at(-1), [1, 'c'])
  })

  it('is not told any more when nobody listens, whether it happened before or happens still', async () => {
    const { world, clock, told, together } = telling()
    together.cancel()
    together.add(1, 'a step that was under way still')
    assert.equal(clock.pending, 0)

    const another = telling()
    another.together.add(1, 'before')
    another.together.cancel()
    another.together.add(1, 'after')
    assert.equal(another.clock.pending, 0)

    for (const each of [world, another.world]) await each.advance(2000)
    assert.deepEqual([...told, ...another.told], [])
  })
})
