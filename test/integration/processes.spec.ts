import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { assertAllThere, ProcessNode, until } from '../support/process-node.ts'

/** Runs of the scenario with a kill at a random moment; raise it to hunt. */
const RUNS = Number(process.env['KILOVOLT_RUNS'] ?? 2)
const OPERATIONS = 10_000
const STALL_MS = 3000
/** Rolling restarts of the whole cluster, one after the other. */
const ROUNDS = Number(process.env['KILOVOLT_ROUNDS'] ?? 1)

async function startCluster(size: number): Promise<ProcessNode[]> {
  const first = await ProcessNode.start()
  const others = await Promise.all(
    Array.from({ length: size - 1 }, () => ProcessNode.start({ bootstrap: first.addresses }))
  )
  return [first, ...others]
}

async function aliveSeenBy(node: ProcessNode): Promise<readonly string[]> {
  return (await node.members())
    .filter(({ status, membership }) => status === 'alive' && membership === 'up')
    .map(({ id }) => id)
}

async function allSeeAll(nodes: readonly ProcessNode[]): Promise<true | undefined> {
  const seen = await Promise.all(nodes.map(aliveSeenBy))
  return seen.every(ids => nodes.every(({ id }) => ids.includes(id))) || undefined
}

describe('a cluster of real processes', () => {
  let nodes: ProcessNode[] = []
  afterEach(async () => {
    await Promise.all(nodes.map(node => node.kill()))
    nodes = []
  })

  it('forms, admits a fourth, and notices the death of one', async () => {
    nodes = await startCluster(3)
    await until('three see three', 10_000, () => allSeeAll(nodes))
    nodes.push(await ProcessNode.start({ bootstrap: nodes[0]!.addresses }))
    await until('four see four', 10_000, () => allSeeAll(nodes))
    const victim = nodes.pop()!
    await victim.kill()
    for (const name of ['member:suspected', 'member:failed']) {
      await until(`all have ${name}`, 15_000, () =>
        nodes.every(({ events }) => events.some(event => event.name === name && event.about === victim.id))
      )
    }
    for (const { events } of nodes) {
      assert.deepEqual(
        events.filter(({ name, about }) => name === 'member:failed' && about !== victim.id),
        []
      )
    }
  }).timeout(60_000)

  it('does not let a stalled process bring others under suspicion', async () => {
    nodes = await startCluster(4)
    await until('four see four', 10_000, () => allSeeAll(nodes))
    const stalled = nodes[3]!
    // The length of the stall is the fault itself: nothing is hoped to have happened by its end.
    stalled.freeze()
    await new Promise(resolve => setTimeout(resolve, STALL_MS))
    stalled.thaw()
    await until('the stalled one is back for all', 15_000, () => allSeeAll(nodes))
    for (const node of nodes) {
      const accused = node.events.filter(({ name, about }) => /suspected|failed/u.test(name) && about !== stalled.id)
      assert.deepEqual(accused, [], `${node.id} accused others`)
    }
  }).timeout(60_000)

  for (let run = 1; run <= RUNS; run++) {
    it(`loses nothing acknowledged at quorum when one of three is killed under load (run ${run})`, async () => {
      nodes = await startCluster(3)
      await Promise.all(nodes.map(node => node.settled()))
      await Promise.all(nodes.map((node, i) => node.startLoad(`load-${i}`, 500, 16)))
      const victim = nodes[Math.floor(Math.random() * 3)]!
      const progress = (): number => nodes.reduce((sum, { acknowledged }) => sum + sumOf(acknowledged), 0)
      const killAt = Math.floor(OPERATIONS * Math.random() * 0.5)
      await until('the load runs', 30_000, () => progress() >= killAt)
      await victim.kill()
      const survivors = nodes.filter(node => node !== victim)
      await until(`${OPERATIONS} writes are acknowledged`, 40_000, () => progress() >= OPERATIONS)
      const reports = await Promise.all(survivors.map(node => node.stopLoad()))
      for (const { anomalies } of reports) assert.deepEqual(anomalies, [])
      for (const reader of survivors) await assertAllThere(reader, nodes)
    }).timeout(90_000)
  }

  it('grows from one to three to five under load, losing nothing and missing nothing', async () => {
    nodes = [await ProcessNode.start()]
    await nodes[0]!.startLoad('load', 1000, 16)
    for (const size of [3, 5]) {
      const joiners = await Promise.all(
        Array.from({ length: size - nodes.length }, () => ProcessNode.start({ bootstrap: nodes[0]!.addresses }))
      )
      nodes.push(...joiners)
      await until(`${size} see ${size}`, 15_000, () => allSeeAll(nodes))
      await Promise.all(nodes.map(node => node.settled()))
    }
    const report = await nodes[0]!.stopLoad()
    assert.deepEqual(report.anomalies, [])
    assert.equal(report.failed, 0, JSON.stringify(report.failures))
    for (const node of nodes) {
      await assertAllThere(node, nodes)
      const { partitions } = await node.status()
      assert.equal(partitions.underReplicated, 0)
    }
    const copied = (await Promise.all(nodes.map(node => node.status()))).map(
      ({ transfer }) => transfer.partitionsCopied
    )
    // From one to three owners each partition gets two more copies; the fourth and fifth node take two fifths of all.
    const least = 256 * 2 + (256 * 3 * 2) / 5
    assert.ok(copied.reduce((sum, count) => sum + count, 0) <= least * 1.05, `${copied.join(' + ')} copies`)
    const shares = await nodes[0]!.shares()
    for (const { slots } of shares) assert.ok(Math.abs(slots - (256 * 3) / 5) <= 1, JSON.stringify(shares))
  }).timeout(120_000)

  it('is restarted node by node, on disk and under load, without losing or refusing anything', async () => {
    const folders = Array.from({ length: 5 }, () => mkdtempSync(join(tmpdir(), 'kilovolt-rolling-')))
    const client = await ProcessNode.start({ weight: 0 })
    const bootstrap = client.addresses
    nodes = [client, ...(await Promise.all(folders.map(folder => ProcessNode.start({ bootstrap, folder }))))]
    await until('six see six', 15_000, () => allSeeAll(nodes))
    await client.settled()
    // The most that an operation may have to be made again for.
    await client.startLoad('load', 1000, 16, 'quorum', 1000)
    for (let round = 0; round < ROUNDS; round++) {
      for (const [i, folder] of folders.entries()) {
        const old = nodes[i + 1]!
        await until('it may be stopped', 30_000, async () => (await old.safeToStop()).safe)
        await old.call('stop')
        await old.kill()
        nodes[i + 1] = await ProcessNode.start({ bootstrap, folder })
        assert.equal(nodes[i + 1]!.id, old.id)
        await until('all see it again', 15_000, () => allSeeAll(nodes))
      }
    }
    const report = await client.stopLoad()
    assert.deepEqual(report.anomalies, [])
    assert.equal(report.failed, 0, JSON.stringify(report.failures))
    for (const node of nodes) await assertAllThere(node, [client])
    for (const folder of folders) rmSync(folder, { recursive: true })
  }).timeout(60_000 + ROUNDS * 60_000)
})

function sumOf(counts: ReadonlyMap<string, number>): number {
  let sum = 0
  for (const count of counts.values()) sum += count
  return sum
}
