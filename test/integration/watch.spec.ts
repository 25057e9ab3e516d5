import assert from 'node:assert/strict'
import type { Watch } from 'kilovolt'
import { NodeLab } from '../support/node-lab.ts'

/** Goal: a watch over real links, whose owners die. */
describe('a watch over libp2p', function () {
  this.timeout(90_000)
  const lab = new NodeLab()
  afterEach(() => lab.clear())

  async function until(watch: Watch, key: string): Promise<string[]> {
    const seen: string[] = []
    for (;;) {
      const { value: event } = await watch.next()
      assert.ok(event !== undefined && event.type !== 'reset')
      seen.push(event.key)
      if (event.key === key) return seen
    }
  }

  it('tells on one node what is written on another, and goes on when those that feed it are gone', async () => {
    const first = await lab.start()
    const second = await lab.start({ bootstrap: first.addresses })
    const third = await lab.start({ bootstrap: first.addresses })
    const fourth = await lab.start({ bootstrap: first.addresses })
    await first.settled()
    const watch = fourth.watch()
    await watch.ready
    for (let i = 0; i < 60; i++) await first.put(`before-${i}`, i)
    const before = new Set(await until(watch, 'before-59'))
    await second.stop()
    for (let i = 0; i < 60; i++) await first.put(`after-${i}`, i)
    const told = [...before, ...(await until(watch, 'after-59'))]
    // Different keys come in no order: whatever is not there yet comes now.
    while (new Set(told).size < 120) {
      const { value: event } = await watch.next()
      assert.ok(event !== undefined && event.type !== 'reset')
      told.push(event.key)
    }
    assert.equal(told.length, 120, 'each once')
    watch.close()
    await third.put('nobody', 'watches')
  })
})
