import assert from 'node:assert/strict'
import { ClassicLevel } from 'classic-level'
import { createNode } from 'kilovolt'
import { MemoryLevel } from 'memory-level'
import { NodeLab, quiet } from '../support/node-lab.ts'

describe('a database object', () => {
  const lab = new NodeLab()

  afterEach(() => lab.clear())

  it('belongs to one node at a time', async () => {
    for (const storage of [new ClassicLevel(lab.folder()), new MemoryLevel()]) {
      const first = await lab.start({ storage })
      await first.put('a', 1)
      await assert.rejects(createNode({ storage, logger: quiet }), { code: 'KV_STORAGE_IN_USE' })
      assert.deepEqual([await first.get('a'), first.status().health], [1, 'ok'])
      await first.stop()
      const [one, other] = await Promise.allSettled([lab.start({ storage }), lab.start({ storage })])
      assert.deepEqual([one.status, other.status].toSorted(), ['fulfilled', 'rejected'])
    }
  })

  it('is free again when a node could not start with it', async () => {
    const storage = new ClassicLevel(lab.folder())
    const nobody = { storage, logger: quiet, bootstrap: ['/ip4/127.0.0.1/tcp/9'], joinTimeoutMs: 300 }
    await assert.rejects(createNode(nobody), { code: 'KV_BOOTSTRAP_UNREACHABLE' })
    await assert.rejects(createNode({ storage, logger: quiet, listen: ['/ip4/192.0.2.1/tcp/0'] }), {
      code: 'KV_CONFIG'
    })
    await lab.start({ storage })
  })

  it('that is closed under its node is no secret: the node says why it refuses, until the database is open again', async () => {
    const storage = new ClassicLevel(lab.folder())
    const node = await lab.start({ storage })
    const told: string[] = []
    node.addEventListener('storage:read-only', ({ detail }) => told.push(detail.error.code))
    await storage.close()
    const { health, storage: status } = node.status()
    assert.deepEqual([health, told], ['degraded', ['KV_STORAGE']])
    assert.match(status.readOnly!, /closed/u)
    await assert.rejects(node.put('a', 1), { code: 'KV_STORAGE' })
    await storage.open()
    const deadlineMs = Date.now() + 5000
    while (node.status().health !== 'ok' && Date.now() < deadlineMs) await node.put('a', 1).catch(() => {})
    assert.deepEqual([node.status().health, await node.get('a')], ['ok', 1])
  })
})
