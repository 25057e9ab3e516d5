import type { ChaosCluster } from './cluster.ts'

/** Something that happens to a cluster under load. */
export interface Fault {
  readonly name: string
  /** Resolves when it is over; healing is measured from there. */
  readonly strike: (cluster: ChaosCluster) => Promise<void>
}

/** A pause that is part of a fault. */
function lasting(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}

/** Stops the world in one process for a while. */
async function freeze(cluster: ChaosCluster, name: string, ms: number): Promise<void> {
  const node = cluster.node(name)
  node.freeze()
  await lasting(ms)
  node.thaw()
}

export const faults: readonly Fault[] = [
  {
    name: 'SIGKILL of a process on disk, back after 2 s',
    strike: async cluster => {
      await cluster.kill('disk-1')
      await lasting(2000)
      await cluster.revive('disk-1')
    }
  },
  {
    name: 'SIGKILL of a process in memory, another in its place after 2 s',
    strike: async cluster => {
      await cluster.kill('memory-1')
      await lasting(2000)
      await cluster.revive('memory-1')
    }
  },
  {
    name: 'SIGSTOP for 3 s',
    strike: cluster => freeze(cluster, 'disk-2', 3000)
  },
  {
    name: 'SIGSTOP for 8 s, long enough to be taken for dead',
    strike: cluster => freeze(cluster, 'disk-3', 8000)
  },
  {
    name: 'restart in good order, on disk',
    strike: async cluster => {
      await cluster.halt('disk-2')
      await cluster.revive('disk-2')
    }
  },
  {
    name: 'a link between two nodes is cut for 6 s',
    strike: async cluster => {
      cluster.setLink('disk-1', 'disk-2', true)
      await lasting(6000)
      cluster.setLink('disk-1', 'disk-2', false)
    }
  },
  {
    name: 'a node is cut off from all others for 8 s',
    strike: async cluster => {
      cluster.setAllLinks('disk-1', true)
      await lasting(8000)
      cluster.setAllLinks('disk-1', false)
    }
  },
  {
    name: 'the disk of a node is full for 5 s',
    strike: async cluster => {
      await cluster.setDisk('disk-3', true)
      await lasting(5000)
      await cluster.setDisk('disk-3', false)
    }
  },
  { name: 'a node joins', strike: cluster => cluster.revive('memory-3') },
  { name: 'a node leaves', strike: cluster => cluster.leave('memory-2') },
  {
    name: 'SIGKILL of two processes on disk at once, back after 2 s',
    strike: async cluster => {
      await Promise.all([cluster.kill('disk-1'), cluster.kill('disk-2')])
      await lasting(2000)
      await Promise.all([cluster.revive('disk-1'), cluster.revive('disk-2')])
    }
  }
]
