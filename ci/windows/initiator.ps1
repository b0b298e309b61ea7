# Windows' own initiator against iesp.exe: a disk is found, formatted, written, read after a new login. Run as administrator.
param([Parameter(Mandatory)] [string] $Program)
$ErrorActionPreference = 'Stop'

$name = 'iqn.2026-01.io.github.iesp:windows'
$folder = Join-Path ([IO.Path]::GetTempPath()) ([IO.Path]::GetRandomFileName())
New-Item -ItemType Directory $folder | Out-Null
$image = Join-Path $folder 'disk.img'
$arguments = '-d', $image, '--create', '1G', '-i', '127.0.0.1', '-t', $name, '-l', (Join-Path $folder 'log'), '-L', 'info'

& $Program --version
& $Program service install -- @arguments
if ($LASTEXITCODE -ne 0) { throw 'iesp does not come to be a service' }
try {
    Set-Service MSiSCSI -StartupType Manual
    Start-Service MSiSCSI
    New-IscsiTargetPortal -TargetPortalAddress 127.0.0.1 | Out-Null
    Connect-IscsiTarget -NodeAddress $name | Out-Null
    $disk = Get-Disk | Where-Object BusType -eq 'iSCSI' | Select-Object -First 1
    if (-not $disk) { throw 'no iSCSI disk' }
    $volume = $disk | Initialize-Disk -PartitionStyle GPT -PassThru |
        New-Partition -UseMaximumSize -AssignDriveLetter | Format-Volume -FileSystem NTFS -Confirm:$false
    $file = "$($volume.DriveLetter):\data"
    $bytes = [byte[]]::new(64MB)
    [Random]::new(20260101).NextBytes($bytes)
    [IO.File]::WriteAllBytes($file, $bytes)
    $before = (Get-FileHash $file).Hash
    Disconnect-IscsiTarget -NodeAddress $name -Confirm:$false
    Connect-IscsiTarget -NodeAddress $name | Out-Null
    Start-Sleep 5
    if ((Get-FileHash $file).Hash -ne $before) { throw 'what was read is not what was written' }
    Disconnect-IscsiTarget -NodeAddress $name -Confirm:$false
    Write-Output 'Windows has written and read a disk of iesp'
} finally {
    Get-Content (Join-Path $folder 'log') -ErrorAction SilentlyContinue | Write-Output
    & $Program service uninstall
}
