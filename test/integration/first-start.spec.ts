import assert from 'node:assert/strict'
import { freePort } from '../support/free-port.ts'
import { assertAllThere, ProcessNode, until } from '../support/process-node.ts'

/** Each of them has been acknowledged so many writes when the founder is killed. */
const WRITES = 50

describe('a cluster of real processes in memory that starts for the first time', () => {
  const nodes: ProcessNode[] = []
  afterEach(async () => {
    await Promise.all(nodes.splice(0).map(node => node.kill()))
  })

  it('may serve as soon as createNode has resolved: nothing acknowledged dies with its founder', async () => {
    const ports = await Promise.all([freePort(), freePort(), freePort()])
    const list = ports.map(port => `/ip4/127.0.0.1/tcp/${port}`)
    nodes.push(...(await Promise.all(ports.map(() => ProcessNode.spawn()))))
    await Promise.all(
      nodes.map(async (node, i) => {
        await node.start({ listen: [list[i]!], bootstrap: list, evictAfterMs: 1000 })
        await node.startLoad(`first-${i}`, 200, 4, 'quorum', 10_000)
      })
    )
    await until('all of them have written', 20_000, () =>
      nodes.every(({ acknowledged }) => acknowledged.size >= WRITES)
    )
    // The smallest store id founds.
    const [founder, ...others] = nodes.toSorted((a, b) => (a.id < b.id ? -1 : 1))
    await founder!.kill()
    await Promise.all(others.map(node => node.stopLoad()))
    await Promise.all(others.map(node => node.settled()))
    for (const reader of others) await assertAllThere(reader, nodes)
    assert.ok(founder!.acknowledged.size >= WRITES)
  }).timeout(90_000)
})
