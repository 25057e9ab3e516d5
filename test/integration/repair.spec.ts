import assert from 'node:assert/strict'
import { ClassicLevel } from 'classic-level'
import { isKilovoltError } from 'kilovolt'
import { NodeLab } from '../support/node-lab.ts'
import { until } from '../support/process-node.ts'

const KEYS = Array.from({ length: 500 }, (_, i) => `k${i}`)

describe('copies over real links and disks', () => {
  const lab = new NodeLab()

  afterEach(() => lab.clear())

  it('become the same after one was away, without being read', async () => {
    const first = await lab.start({ storage: new ClassicLevel(lab.folder()) })
    const bootstrap = first.addresses
    const second = await lab.start({ bootstrap, storage: new ClassicLevel(lab.folder()) })
    const path = lab.folder()
    const third = await lab.start({ bootstrap, storage: new ClassicLevel(path) })
    await third.settled({ timeoutMs: 20_000 })
    await first.batch(
      KEYS.map(key => ({ type: 'put', key, value: 'old' })),
      { consistency: 'all' }
    )
    await third.stop()
    await first.batch(KEYS.map(key => (key.endsWith('7') ? { type: 'del', key } : { type: 'put', key, value: 'new' })))
    const back = await lab.start({ bootstrap, storage: new ClassicLevel(path) })
    assert.equal(back.id, third.id)
    // At one the local copy answers, and nothing is mended by asking.
    await until('it has what it missed', 30_000, async () => {
      const values = await back.getMany(KEYS, { consistency: 'one' })
      return values.every((value, i) => value === (KEYS[i]!.endsWith('7') ? undefined : 'new'))
    })
    // What was kept for it comes first; comparing finds what is left.
    const brought = (): number =>
      [first, second, back]
        .map(node => node.status())
        .reduce((sum, { repair, hints }) => sum + repair.mended + hints.delivered, 0)
    await until('somebody says so', 30_000, () => brought() >= KEYS.length)
    const { differences, missed } = await back.repair()
    assert.deepEqual([differences, missed], [0, []])
    assert.equal(back.status().transfer.recordsCopied, 0)
  }).timeout(90_000)

  it('are compared when an app asks, which says who could not be', async () => {
    const first = await lab.start({})
    const second = await lab.start({ bootstrap: first.addresses })
    await second.settled({ timeoutMs: 20_000 })
    await first.put('a', 1, { consistency: 'all' })
    assert.deepEqual((await first.repair()).missed, [])
    await second.stop()
    await until('it is missed', 10_000, async () => (await first.repair()).missed[0] === second.id)
    await assert.rejects(first.repair({ signal: AbortSignal.abort() }), error => isKilovoltError(error, 'KV_ABORTED'))
    await first.stop()
    await assert.rejects(first.repair(), error => isKilovoltError(error, 'KV_NODE_STOPPED'))
  }).timeout(60_000)
})
