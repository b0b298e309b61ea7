//! What the command line says of version 3 and of who is to be asked.

use std::path::PathBuf;

/// The agent's options beside its port, address and community.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SnmpOptions {
    /// File with the users of SNMP version 3, one a line: NAME AUTH PASSWORD [PRIVACY PASSWORD]. AUTH is SHA-1, SHA-224,
    /// SHA-256, SHA-384 or SHA-512; PRIVACY is AES-128, AES-192 or AES-256. With it, versions 1 and 2c are answered only
    /// where --snmp-community is given.
    #[arg(id = "snmp_users", long = "snmp-users", value_name = "FILE", requires = "snmp_port")]
    pub users: Option<PathBuf>,

    /// Where the identity of the SNMP version 3 engine is kept, and how often it started. [default: snmp-engine in the state
    /// folder]
    #[arg(id = "snmp_engine_file", long = "snmp-engine-file", value_name = "FILE", requires = "snmp_users")]
    pub engine_file: Option<PathBuf>,

    /// Whom to ask about this machine (sysContact).
    #[arg(
        id = "snmp_contact",
        long = "snmp-contact",
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        requires = "snmp_port"
    )]
    pub contact: String,

    /// Where this machine stands (sysLocation).
    #[arg(
        id = "snmp_location",
        long = "snmp-location",
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        requires = "snmp_port"
    )]
    pub location: String,

    /// Walks pass by iESP's own names, which stand among the rows of MIBs' tables and are none: for programs that read
    /// tables by GETBULK. GET answers them all the same.
    #[arg(id = "snmp_plain_tables", long = "snmp-plain-tables", requires = "snmp_port")]
    pub plain_tables: bool,
}
