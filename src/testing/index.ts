/**
 * Clusters in one process, with a virtual clock, for the tests of applications.
 *
 * @packageDocumentation
 */
export type { NetworkOptions } from './conditions.ts'
export { createTestCluster, TestCluster } from './test-cluster.ts'
export type { TestClusterOptions } from './test-cluster.ts'
